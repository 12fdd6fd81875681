"""The model section: closed, within bounds."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.model import MlpModel, Model


def test_defaults() -> None:
    assert MlpModel(name="mlp").hidden == (64,)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Model, {"name": "mlp", "hidden": [0]}),
        (Model, {"name": "mlp", "width": 3}),
        (Model, {"name": "custom"}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)
