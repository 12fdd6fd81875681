"""A program of one's own in the study file."""

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.compose import refusal
from accord.config.programs import Program

SECTION: TypeAdapter[Program] = TypeAdapter(Program)


def test_it_names_a_function() -> None:
    section = SECTION.validate_python({"name": "custom", "function": "my_program:feddyn", "settings": {"alpha": 0.1}})
    assert "The user's own program, my_program:feddyn" in section.describe_rounds("3 rounds", "all of them")
    for function in ("feddyn", "a:b:c", ":f", "m:", "m:f()"):
        with pytest.raises(ValidationError, match="pattern"):
            SECTION.validate_python({"name": "custom", "function": function})


def test_the_noised_sum_is_nothing_it_can_state() -> None:
    assert refusal("custom", "sample") is None
    assert "nothing shows" in str(refusal("custom", "client"))
