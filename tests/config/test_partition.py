"""The partition section: frozen, closed, within bounds."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.partition import IidPartition, Partition


def test_sections_are_frozen() -> None:
    section = IidPartition(name="iid")
    assert section.num_partitions == 10
    with pytest.raises(ValidationError, match="frozen"):
        section.num_partitions = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Partition, {"name": "dirichlet", "alpha": float("inf")}),
        (Partition, {"name": "dirichlet", "alpha": 0.0}),
        (Partition, {"name": "size", "partition_sizes": []}),
        (Partition, {"name": "size", "partition_sizes": [3, 0]}),
        (Partition, {"name": "inner-dirichlet", "partition_sizes": []}),
        (Partition, {"name": "inner-dirichlet", "partition_sizes": [3], "num_partitions": 1}),
        (Partition, {"name": "inner-dirichlet", "partition_sizes": [3], "quantity": "linear"}),
        (Partition, {"name": "inner-dirichlet", "partition_sizes": [3], "min_partition_size": 1}),
        (Partition, {"name": "inner-dirichlet", "size_alpha": 2.0}),
        (Partition, {"name": "inner-dirichlet", "quantity": "linear", "size_sigma": 2.0}),
        (Partition, {"name": "linear", "min_partition_size": -1}),
        (Partition, {"name": "iid", "num_partitions": True}),
        (Partition, {"name": "iid", "num_partitions": 2.0}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)
