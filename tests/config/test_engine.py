"""The engine section: closed, within bounds."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.engine import Engine


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Engine, {"name": "vectorised", "threads": 0}),
        (Engine, {"name": "vectorised", "chunk_size": 0}),
        (Engine, {"name": "sequential", "threads": 2}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)
