"""A partition by a number, against flwr-datasets' formula and at its two ends."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from accord.config.partition import ContinuousPartition
from accord.core.errors import DataError, StudyError
from accord.core.streams import stream
from accord.data.federated import GroupColumn, Table
from accord.data.partition import partition

AGES = np.random.default_rng(0).integers(20, 60, size=403)


def rows(target: bool = True) -> Table:
    x = torch.from_numpy(np.stack([AGES * 1.0, np.arange(403.0)], axis=1))
    y = torch.from_numpy(AGES.astype(np.float32)) if target else torch.zeros(403, dtype=torch.int64)
    ages = tuple(str(age) for age in range(20, 60))
    return Table(x, y, {"age": GroupColumn(AGES - 20, ages), "site": GroupColumn(AGES % 2, ("n", "s"))})


def section(**values: Any) -> ContinuousPartition:
    return ContinuousPartition.model_validate({"name": "continuous", "num_partitions": 4, "strictness": 0.7} | values)


@pytest.mark.parametrize("by", ["target", "feature:0", "age"])
@pytest.mark.parametrize("strictness", [0.3, 0.9])
def test_rows_are_sorted_by_the_number_blended_with_noise(by: str, strictness: float) -> None:
    shares = partition(section(partition_by=by, strictness=strictness), rows(), 5)
    noise = stream(5, "partition").standard_normal(403)
    blended = strictness * (AGES - AGES.mean()) / AGES.std() + (1 - strictness) * noise
    expected = np.array_split(np.argsort(blended, kind="stable"), 4)
    assert [set(shares.rows(client).tolist()) for client in range(4)] == [set(each.tolist()) for each in expected]


def test_strictness_goes_from_iid_to_sorted() -> None:
    def spread(strictness: float) -> float:
        shares = partition(section(strictness=strictness), rows(), 1)
        return float(np.std([AGES[shares.rows(client)].mean() for client in range(4)]))

    strict = partition(section(strictness=1.0), rows(), 1)
    ends = [(AGES[strict.rows(client)].min(), AGES[strict.rows(client)].max()) for client in range(4)]
    assert all(high <= low for (_, high), (low, _) in pairwise(ends))
    assert spread(0.0) < 2 < spread(0.5) < spread(1.0)


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("target", "the data's target is a class, not a number"),
        ("feature:2", "a row has the features 0 to 1"),
        ("site", "column 'site' has the value 'n', which is no number; use partition natural"),
        ("agee", "no column 'agee'; did you mean 'age'"),
    ],
)
def test_what_is_no_number(by: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        partition(section(partition_by=by), rows(target=False), 0)


def test_a_number_that_all_rows_share_is_refused_but_for_strictness_0() -> None:
    table = Table(torch.ones(9, 1), torch.zeros(9, dtype=torch.int64))
    with pytest.raises(DataError, match="'feature:0' is nearly the same in all rows"):
        partition(section(partition_by="feature:0"), table, 0)
    assert len(partition(section(partition_by="feature:0", strictness=0.0), table, 0)) == 4
