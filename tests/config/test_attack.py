"""The attack section: who is malicious is said once, and every attack has its own settings."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.attack import Attack

SECTION: TypeAdapter[Attack] = TypeAdapter(Attack)


@pytest.mark.parametrize("name", ["sign_flip", "scaled", "gaussian", "label_flip", "alie"])
def test_every_attack_needs_to_be_told_only_who(name: str) -> None:
    assert SECTION.validate_python({"name": name, "fraction": 0.2}).fraction == 0.2
    assert SECTION.validate_python({"name": name, "clients": [3, 1]}).clients == (3, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "sign_flip"}, "give fraction or clients"),
        ({"name": "sign_flip", "fraction": 0.2, "clients": [1]}, "give fraction or clients"),
        ({"name": "sign_flip", "clients": []}, "at least 1"),
        ({"name": "sign_flip", "clients": [2, 2]}, "twice"),
        ({"name": "sign_flip", "clients": [-1]}, "greater than or equal to 0"),
        ({"name": "sign_flip", "fraction": 1.0}, "less than 1"),
        ({"name": "sign_flip", "fraction": 0.2, "scale": 0.0}, "greater than 0"),
        ({"name": "gaussian", "fraction": 0.2, "std": -1.0}, "greater than 0"),
        ({"name": "label_flip", "fraction": 0.2, "scale": 2.0}, "scale"),
        ({"name": "alie", "fraction": 0.2, "z": -0.1}, "greater than or equal to 0"),
        ({"name": "backdoor", "fraction": 0.2}, "backdoor"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SECTION.validate_python(values)
