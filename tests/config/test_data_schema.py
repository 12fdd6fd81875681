"""The data, partition and model sections: frozen, closed, and within bounds."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.data_schema import Data, IidPartition, MlpModel, Model, Partition, SyntheticData


def test_sections_are_frozen() -> None:
    section = IidPartition(name="iid")
    with pytest.raises(ValidationError, match="frozen"):
        section.num_partitions = 3  # type: ignore[misc]


def test_defaults() -> None:
    assert IidPartition(name="iid").num_partitions == 10
    assert MlpModel(name="mlp").hidden == (64,)
    assert SyntheticData(name="synthetic").classes == 2


BAD: list[tuple[Any, dict[str, Any]]] = [
    (Data, {"name": "synthetic", "classes": 1}),
    (Data, {"name": "synthetic", "train_rows": 10**12}),
    (Data, {"name": "digits", "test_fraction": 1.0}),
    (Data, {"name": "mnist", "std": 0.0}),
    (Data, {"name": "mnist", "means": 0.5}),
    (Data, {"name": "custom"}),
    (Partition, {"name": "dirichlet", "alpha": float("inf")}),
    (Partition, {"name": "dirichlet", "alpha": 0.0}),
    (Partition, {"name": "size", "partition_sizes": []}),
    (Partition, {"name": "iid", "num_partitions": True}),
    (Partition, {"name": "iid", "num_partitions": 2.0}),
    (Model, {"name": "mlp", "hidden": [0]}),
]


@pytest.mark.parametrize(("kind", "values"), BAD)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)
