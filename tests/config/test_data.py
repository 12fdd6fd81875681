"""The data section: frozen, closed, within bounds."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.data import Data, SyntheticData


def test_defaults() -> None:
    assert SyntheticData(name="synthetic").classes == 2


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Data, {"name": "synthetic", "classes": 1}),
        (Data, {"name": "synthetic", "train_rows": 10**12}),
        (Data, {"name": "digits", "test_fraction": 1.0}),
        (Data, {"name": "mnist", "std": 0.0}),
        (Data, {"name": "mnist", "means": 0.5}),
        (Data, {"name": "custom"}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)
