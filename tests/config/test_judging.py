"""The fairness and evaluation sections: closed, within bounds."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.judging import Evaluation, Fairness


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Evaluation, {"every": 0}),
        (Evaluation, {"twin": 1}),
        (Fairness, {"groups": []}),
        (Fairness, {"groups": ["sex"], "confidence": 1.0}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)
