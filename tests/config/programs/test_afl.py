"""What the section says of its program."""

from pydantic import TypeAdapter

from accord.config.programs import Program
from accord.config.training import Training


def test_the_section_says_all_there_is_to_know() -> None:
    section: Program = TypeAdapter(Program).validate_python({"name": "afl"})
    assert "mixture step 0.1" in section.describe_rounds("3 rounds", "all of them")
    assert section.units == ()
    assert section.refuse_training(Training.model_validate({})) is None
