from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from accord.config.partition import (
    ContiguousPartition,
    DirichletPartition,
    IidPartition,
    NaturalPartition,
    Partition,
    ShardPartition,
    SizePartition,
    SortedPartition,
)
from accord.core.errors import DataError, RequestError, StudyError
from accord.data.federated import ClientRows, GroupColumn, Table
from accord.data.partition import deal_test, label_counts, partition
from label_tables import is_whole, random_table, table

SECTION: TypeAdapter[Any] = TypeAdapter(Partition)


def settings_of(name: str, clients: int, n: int) -> Partition:
    """Settings of the named partition for so many clients."""
    section: dict[str, Any] = {"name": name}
    if name == "size":
        section["partition_sizes"] = [*[1] * (clients - 1), max(1, n - clients + 1)]
    elif name in ("natural", "grouped-natural"):
        section["partition_by"] = "site"
    else:
        section["num_partitions"] = clients
    if name == "grouped-natural":
        section["group_size"] = 2
    if name == "continuous":
        section |= {"partition_by": "feature:0", "strictness": 0.5}
    if name == "dirichlet":
        section["min_partition_size"] = 1
    made: Partition = SECTION.validate_python(section)
    return made


NAMES = (
    *("iid", "dirichlet", "shard", "pathological", "size", "natural", "contiguous", "sorted"),
    *("linear", "square", "exponential", "inner-dirichlet", "inner-dirichlet-parallel"),
    *("grouped-natural", "continuous"),
)


@pytest.mark.parametrize("name", NAMES)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(n=st.integers(1, 120), classes=st.integers(1, 6), clients=st.integers(1, 15), seed=st.integers(0, 2**40))
def test_each_row_is_held_once_and_no_client_is_empty(name: str, n: int, classes: int, clients: int, seed: int) -> None:
    train, test = random_table(n, classes), random_table(n // 2 + 1, classes, seed=1)
    chosen = settings_of(name, clients, n)
    try:
        shares = partition(chosen, train, seed)
    except RequestError as refused:
        assert "\n" not in str(refused)  # noqa: PT017 - either outcome is right, a two-line message is not
        assert str(refused).startswith("partition")  # noqa: PT017
        return
    assert is_whole(shares, n)
    assert (shares.sizes() > 0).all()
    again = partition(chosen, train, seed)
    assert (shares.order == again.order).all()
    assert (shares.offsets == again.offsets).all()
    dealt = deal_test(chosen, train, shares, test, seed)
    assert len(dealt) == len(shares)
    assert dealt.names == shares.names
    assert is_whole(dealt, len(test))


@pytest.mark.parametrize("name", ["iid", "dirichlet", "shard", "pathological", "size", "linear", "inner-dirichlet"])
def test_another_seed_deals_otherwise(name: str) -> None:
    train = random_table(600, 5)
    one, other = (partition(settings_of(name, 5, 600), train, seed) for seed in (1, 2))
    assert (one.order != other.order).any()


def test_iid_cuts_equally_and_mixes_classes() -> None:
    train = table(np.repeat(np.arange(2), 5000))
    shares = partition(IidPartition(name="iid", num_partitions=3), train, 4)
    assert shares.sizes().tolist() == [3334, 3333, 3333]
    shared = label_counts(shares, train, 2) / shares.sizes()[:, None]
    assert np.abs(shared - 0.5).max() < 0.04


def test_contiguous_keeps_the_order_of_the_file() -> None:
    shares = partition(ContiguousPartition(name="contiguous", num_partitions=3), random_table(11, 2), 0)
    assert [shares.rows(client).tolist() for client in range(3)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10],
    ]


def test_sorted_cuts_by_label_with_ties_in_file_order() -> None:
    shares = partition(SortedPartition(name="sorted", num_partitions=3), table([1, 0, 2, 0, 1, 2, 0]), 0)
    assert [shares.rows(client).tolist() for client in range(3)] == [[1, 3, 6], [0, 4], [2, 5]]


def test_shard_deals_equal_shards_of_sorted_rows() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 60))
    train = table(labels)
    shares = partition(ShardPartition(name="shard", num_partitions=10, num_shards_per_partition=2), train, 3)
    assert shares.sizes().tolist() == [60] * 10
    place = np.argsort(np.argsort(labels, kind="stable"), kind="stable")  # of each row when sorted by label
    held = [sorted(set(place[shares.rows(client)] // 30)) for client in range(10)]
    assert all(len(shards) == 2 for shards in held)
    assert sorted(np.concatenate(held)) == list(range(20))


def test_shard_leaves_no_remainder() -> None:
    train = random_table(103, 4)
    shares = partition(ShardPartition(name="shard", num_partitions=10, num_shards_per_partition=2), train, 3)
    assert shares.sizes().sum() == 103
    assert set(shares.sizes()) <= {10, 11, 12}
    with pytest.raises(DataError, match="need 20 rows, but the training rows are 15"):
        partition(ShardPartition(name="shard", num_partitions=10), random_table(15, 3), 0)


def test_a_client_without_rows_is_refused_with_the_mend() -> None:
    with pytest.raises(DataError, match=r"client 5 of 7 would hold no rows \(5 .*num_partitions to at most 5"):
        partition(IidPartition(name="iid", num_partitions=7), table([0, 1, 0, 1, 2]), 0)
    section = DirichletPartition(name="dirichlet", num_partitions=30, alpha=0.01, min_partition_size=0)
    with pytest.raises(DataError, match=r"of 30 would hold no rows .*min_partition_size to 1 or more"):
        partition(section, random_table(200, 2), 0)


def test_natural_makes_a_client_of_each_value_that_occurs() -> None:
    codes = np.array([3, 0, 3, 2, 0])
    train = table([0, 1, 0, 1, 1], site=GroupColumn(codes, ("north", "east", "south", "west")))
    shares = partition(NaturalPartition(name="natural", partition_by="site"), train, 0)
    assert shares.names == ("north", "south", "west")
    assert [shares.rows(client).tolist() for client in range(3)] == [[1, 4], [3], [0, 2]]
    by_label = partition(NaturalPartition(name="natural", partition_by="label"), train, 0)
    assert by_label.names == ("0", "1")
    assert by_label.rows(1).tolist() == [1, 3, 4]


def test_natural_by_an_unknown_column_names_the_nearest() -> None:
    with pytest.raises(StudyError, match=r"no column 'sites'; did you mean 'site'\? \(columns: site, label\)"):
        partition(NaturalPartition(name="natural", partition_by="sites"), random_table(9, 2), 0)


def test_natural_deals_test_rows_by_the_same_column_and_others_by_label() -> None:
    names = ("north", "east", "south", "west")
    train = table([0, 1, 0, 1, 1], site=GroupColumn(np.array([3, 0, 3, 2, 0]), names))
    test = table([0, 0, 1, 0], site=GroupColumn(np.array([2, 3, 0, 1]), names))
    section = NaturalPartition(name="natural", partition_by="site")
    dealt = deal_test(section, train, partition(section, train, 0), test, 0)
    assert [dealt.rows(client).tolist() for client in range(3)] == [[2], [0], [1, 3]]


@pytest.mark.parametrize("name", ["iid", "dirichlet", "shard", "pathological", "sorted", "square", "inner-dirichlet"])
def test_test_shares_follow_the_training_shares_of_each_class(name: str) -> None:
    train, test = random_table(3000, 6), random_table(700, 6, seed=1)
    section = settings_of(name, 8, 3000)
    shares = partition(section, train, 2)
    dealt = deal_test(section, train, shares, test, 2)
    held, given_ = label_counts(shares, train, 6), label_counts(dealt, test, 6)
    quota = held / held.sum(axis=0) * given_.sum(axis=0)
    assert np.abs(given_ - quota).max() < 1
    assert (given_[held == 0] == 0).all()


def test_a_class_without_training_rows_is_dealt_by_size() -> None:
    train, test = table([0] * 30 + [1] * 10), table([2] * 8)
    section = SizePartition(name="size", partition_sizes=(10, 30))
    dealt = deal_test(section, train, partition(section, train, 0), test, 0)
    assert dealt.sizes().tolist() == [2, 6]


def test_ties_of_the_largest_remainder_fall_at_random() -> None:
    train, test = table([0] * 40), table([0] * 10)
    section = IidPartition(name="iid", num_partitions=40)
    shares = partition(section, train, 0)
    winners = [np.flatnonzero(deal_test(section, train, shares, test, seed).sizes()) for seed in range(200)]
    assert all(len(won) == 10 for won in winners)
    often = np.bincount(np.concatenate(winners), minlength=40)
    assert often.min() > 20
    assert often.max() < 90


def test_label_counts_count_labels() -> None:
    shares = ClientRows(np.array([2, 0, 3, 1]), np.array([0, 1, 1, 4]))
    assert label_counts(shares, table([0, 1, 1, 1]), 3).tolist() == [[0, 1, 0], [0, 0, 0], [1, 2, 0]]


def test_a_million_clients() -> None:
    train, test = random_table(1_000_000, 10), random_table(10_000, 10, seed=1)
    section = IidPartition(name="iid", num_partitions=1_000_000)
    shares = partition(section, train, 0)
    assert (shares.sizes() == 1).all()
    assert deal_test(section, train, shares, test, 0).sizes().sum() == 10_000


def test_labels_of_chosen_clients_are_their_lines() -> None:
    train = random_table(500, 4)
    section = settings_of("dirichlet", 20, 500)
    shares = partition(section, train, 1)
    chosen = np.array([7, 0, 7, 19])
    assert (label_counts(shares, train, 4, chosen) == label_counts(shares, train, 4)[chosen]).all()
    assert label_counts(shares, train, 4, chosen[:0]).shape == (0, 4)


# --- targets that are numbers -------------------------------------------------------------------------


def of_numbers(n: int, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    y = torch.from_numpy(rng.normal(size=n).astype(np.float32))
    return Table(torch.zeros(n, 2), y, {"site": GroupColumn(rng.integers(3, size=n), ("p", "q", "r"))})


@pytest.mark.parametrize("name", ["iid", "contiguous", "sorted", "linear", "shard"])
def test_numbers_are_dealt_whole(name: str) -> None:
    train, test = of_numbers(400), of_numbers(101, seed=1)
    settings = SECTION.validate_python({"name": name, "num_partitions": 5})
    dealt = partition(settings, train, seed=3)
    shared = deal_test(settings, train, dealt, test, seed=3)
    assert sorted(dealt.order.tolist()) == list(range(400))
    assert sorted(shared.order.tolist()) == list(range(101))
    assert label_counts(dealt, train, 0).shape == (5, 0)


def test_test_rows_look_like_the_numbers_a_client_trains_on() -> None:
    train, test = of_numbers(2000), of_numbers(500, seed=1)
    settings = SECTION.validate_python({"name": "sorted", "num_partitions": 5})
    dealt = partition(settings, train, seed=3)
    shared = deal_test(settings, train, dealt, test, seed=3)
    for client in range(5):
        mine, held = train.y.numpy()[dealt.rows(client)], test.y.numpy()[shared.rows(client)]
        assert held.mean() == pytest.approx(mine.mean(), abs=0.15)


@pytest.mark.parametrize("name", ["dirichlet", "inner-dirichlet", "pathological"])
def test_classes_of_numbers_are_not_dealt(name: str) -> None:
    settings = SECTION.validate_python({"name": name})
    with pytest.raises(
        StudyError, match=f"^partition {name} goes by classes, but the data's target is a number; use iid"
    ):
        partition(settings, of_numbers(100), seed=0)
