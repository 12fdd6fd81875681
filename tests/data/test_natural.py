"""Natural ids, one a client or grouped: the groups of flwr-datasets."""

import numpy as np
import pytest
import torch

from accord.config.partition import GroupedNaturalPartition, NaturalPartition
from accord.core.errors import DataError
from accord.data.federated import GroupColumn, Table
from accord.data.partition import deal_test, partition

IDS = ("a", "b", "c", "d", "e", "f", "g")


def sited(codes: list[int]) -> Table:
    return Table(
        torch.zeros(len(codes), 1),
        torch.zeros(len(codes), dtype=torch.int64),
        {"site": GroupColumn(np.array(codes), IDS)},
    )


ROWS = [4, 0, 4, 2, 6, 1, 3, 0, 5, 2]  # first seen: e a c g b d f


def groups(**section: object) -> list[str]:
    made = GroupedNaturalPartition.model_validate({"name": "grouped-natural", "partition_by": "site"} | section)
    shares = partition(made, sited(ROWS), 0)
    held = [sorted({IDS[ROWS[row]] for row in shares.rows(client)}) for client in range(len(shares))]
    assert sorted(shares.order.tolist()) == list(range(len(ROWS)))
    return ["".join(each) for each in held]


def test_natural_ids_are_clients_in_the_columns_order() -> None:
    shares = partition(NaturalPartition(name="natural", partition_by="site"), sited([4, 0, 4]), 0)
    assert shares.names == ("a", "e")
    assert shares.rows(1).tolist() == [0, 2]


def test_groups_are_those_of_flwr_datasets() -> None:
    # np.array_split of the ids in order of first occurrence, as GroupedNaturalIdPartitioner does
    assert groups(group_size=3) == ["ace", "bdg", "f"]
    assert groups(group_size=3, mode="allow-bigger") == ["aceg", "bdf"]
    assert groups(group_size=7, mode="strict") == ["abcdefg"]
    assert groups(group_size=2, sort_unique_ids=True) == ["ab", "cd", "ef", "g"]
    assert groups(group_size=9) == ["abcdefg"]
    assert groups(num_partitions=3, sort_unique_ids=True) == ["abc", "de", "fg"]


def test_clients_are_named_by_their_ids_and_get_their_test_rows() -> None:
    section = GroupedNaturalPartition(
        name="grouped-natural", partition_by="site", num_partitions=2, sort_unique_ids=True
    )
    train, test = sited(ROWS), sited([0, 6, 6])
    shares = partition(section, train, 0)
    assert shares.names == ("a, b, c and 1 more", "e, f, g")
    assert deal_test(section, train, shares, test, 0).sizes().tolist() == [1, 2]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"group_size": 3, "mode": "strict"}, "'site' has 7 values, which groups of 3 leave 1 of"),
        ({"group_size": 8, "mode": "allow-bigger"}, "set partition.group_size to at most 7"),
        ({"num_partitions": 8}, "set partition.num_partitions to at most 7"),
    ],
)
def test_groups_that_cannot_be(section: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        groups(**section)


@pytest.mark.parametrize(
    "section", [{}, {"group_size": 2, "num_partitions": 2}, {"num_partitions": 2, "mode": "strict"}]
)
def test_settings_that_do_not_go_together(section: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"give group_size or num_partitions|mode goes with group_size"):
        groups(**section)
