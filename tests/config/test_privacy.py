"""The privacy section: a budget or noise, and a delta."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.privacy import BatchPrivacy, Privacy


def test_noise_may_be_given_instead_of_a_budget() -> None:
    assert BatchPrivacy(unit="batch", noise_multiplier=1.0, delta=1e-5).epsilon is None


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Privacy, {"unit": "sample", "delta": 1e-5}),
        (Privacy, {"unit": "sample", "epsilon": 1.0}),
        (Privacy, {"unit": "sample", "epsilon": 1.0, "delta": 0.0}),
        (Privacy, {"unit": "sample", "epsilon": 1.0, "delta": 1.0}),
        (Privacy, {"unit": "sample", "epsilon": 1.0, "delta": float("nan")}),
        (Privacy, {"unit": "sample", "epsilon": float("inf"), "delta": 0.1}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)
