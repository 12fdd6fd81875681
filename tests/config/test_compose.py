"""One table says which programs compose with which units, and a study is refused by it."""

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from accord.config.compose import COMPOSES, refusal
from accord.config.schema import Study
from accord.privacy.units import Unit

UNITS = get_args(Unit)
NAMES = Study.model_json_schema()["properties"]["program"]["discriminator"]["mapping"]


def study(program: str, unit: str) -> Study:
    sections: dict[str, Any] = {"program": {"name": program}, "training": {"batch_size": "full"}}
    if program in ("fedavg", "fedprox", "fedsgd", "fedopt"):
        sections["program"]["weights"] = "uniform"
    if program == "custom":
        sections["program"]["function"] = "my_program:feddyn"
    privacy = {"unit": unit, "noise_multiplier": 1.0, "delta": 1e-3}
    return Study.model_validate({"data": {"name": "digits"}, "privacy": privacy, **sections})


def test_every_program_is_in_the_table() -> None:
    assert set(COMPOSES) == set(NAMES)
    assert {unit for units in COMPOSES.values() for unit in units} == set(UNITS)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("program", COMPOSES)
def test_a_study_is_refused_where_the_table_has_no_entry(program: str, unit: str) -> None:
    if unit in COMPOSES[program]:
        assert study(program, unit).program.name == program
        return
    with pytest.raises(ValidationError, match=f"{program} does not compose with privacy.unit {unit}: "):
        study(program, unit)


def test_what_is_not_known_is_refused() -> None:
    for unit in (*UNITS, "row"):
        assert refusal("unheard-of", unit) is not None
    assert refusal("fedavg", "row") is not None
