"""The training section: what cannot go together, and what may."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.training import Training


def test_their_possible_neighbours_are_taken() -> None:
    assert Training(optimizer="adam").momentum == 0
    assert Training(local_steps=3).local_epochs is None


def test_a_whole_number_serves_where_a_real_one_is_meant() -> None:
    assert isinstance(Training(learning_rate=1).learning_rate, float)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Training, {"local_epochs": 1, "local_steps": 1}),
        (Training, {"optimizer": "adam", "momentum": 0.9}),
        (Training, {"optimizer": "sgd", "beta1": 0.5}),
        (Training, {"learning_rate": 0.0}),
        (Training, {"learning_rate": float("nan")}),
        (Training, {"learning_rate": float("inf")}),
        (Training, {"momentum": 1.0}),
        (Training, {"weight_decay": -0.1}),
        (Training, {"batch_size": "half"}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)
