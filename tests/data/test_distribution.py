"""A partition by a matrix, against the loops of flwr-datasets."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from accord.config.partition import DistributionPartition
from accord.core.errors import DataError
from accord.data.partition import label_counts, partition
from label_tables import is_whole, table

AVAILABLE = [100, 81, 60, 203]
TRAIN = table(np.random.default_rng(0).permutation(np.repeat(np.arange(4), AVAILABLE)))
LINES = [[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0], [0.0, 5.0, 0.0, 5.0], [0.1, 0.2, 0.3, 7.0]]


def section(**values: Any) -> DistributionPartition:
    base = {"name": "distribution", "num_partitions": 8, "num_classes_per_partition": 2, "distribution": LINES}
    return DistributionPartition.model_validate(base | values)


def flwr(first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of each class at each client before what is left over, and what is: flwr-datasets' loops."""
    counts, left = np.zeros((8, 4), dtype=np.int64), np.zeros(4, dtype=np.int64)
    tracker = dict.fromkeys(range(4), 0)
    sampled = []
    for label in range(4):
        line = np.array(LINES[label])
        given = np.floor(line / line.sum() * (AVAILABLE[label] - first * 4)).astype(int) + first
        sampled.append(given)
        left[label] = AVAILABLE[label] - given.sum()
    for client in range(8):
        for label in np.roll(range(4), -client)[:2].tolist():
            counts[client, label] = sampled[label][tracker[label]]
            tracker[label] += 1
    return counts, left


@pytest.mark.parametrize("first", [0, 5])
def test_counts_are_those_of_flwr_datasets(first: int) -> None:
    expected, left = flwr(first)
    places: set[int] = set()
    for seed in range(12):
        shares = partition(section(preassigned_rows_per_class=first), TRAIN, seed)
        assert is_whole(shares, len(TRAIN))
        more = label_counts(shares, TRAIN, 4) - expected
        assert more.sum(axis=0).tolist() == left.tolist()
        assert ((more > 0).sum(axis=0) <= 1).all()  # all that a class leaves over is one client's
        places.add(int(more[:, 3].argmax()))
    assert len(places) > 1  # drawn at random


def test_numbers_may_be_rows() -> None:
    lines = [[10, 20, 30, 40], [81, 0, 0, 0], [15, 15, 15, 15], [1, 1, 1, 200]]
    counts = label_counts(partition(section(distribution=lines, rescale=False), TRAIN, 0), TRAIN, 4)
    assert counts[:, 0].tolist() == [10, 0, 0, 20, 30, 0, 0, 40]
    assert counts[:, 3].tolist() == [0, 0, 1, 1, 0, 0, 1, 200]
    lines[0][0] = 9
    with pytest.raises(DataError, match="of class 0 are rows and add up to 100, all that it has; they add up to 99"):
        partition(section(distribution=lines, rescale=False), TRAIN, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_partitions": 6}, "num_partitions, 6, to a multiple of the 4 classes"),
        ({"num_classes_per_partition": 5}, "num_classes_per_partition to at most 4"),
        ({"num_partitions": 4}, r"needs 4 lists, one a class, of 2 numbers each \(2 x 4 / 4\); it has 4 of \[4\]"),
        ({"distribution": LINES[:3]}, "needs 4 lists"),
        ({"distribution": [*LINES[:3], [0.0] * 4]}, "all numbers of class 3 are 0"),
        ({"preassigned_rows_per_class": 15}, "class 2 has 60 rows, too few for 4 clients that are each given 15"),
    ],
)
def test_a_matrix_that_does_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        partition(section(**values), TRAIN, 0)
