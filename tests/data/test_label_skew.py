"""Partitions by label, each against a naive one, closed forms, or flwr-datasets' algorithm."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from accord.config.partition import DirichletPartition, InnerDirichletPartition, LinearPartition, PathologicalPartition
from accord.core.errors import DataError
from accord.core.streams import stream
from accord.data.federated import Table
from accord.data.partition import label_counts, partition
from label_tables import is_whole, random_table, table


@pytest.mark.parametrize("mode", ["random", "deterministic", "first-deterministic"])
@pytest.mark.parametrize(("clients", "each"), [(10, 2), (25, 3), (10, 10)])
def test_pathological_gives_each_client_so_many_classes_in_equal_parts(mode: Any, clients: int, each: int) -> None:
    train = random_table(2000, 10)
    section = PathologicalPartition(
        name="pathological",
        num_partitions=clients,
        num_classes_per_partition=each,
        class_assignment_mode=mode,
    )
    counts = label_counts(partition(section, train, 8), train, 10)
    assert ((counts > 0).sum(axis=1) == each).all()
    for column in counts.T:
        assert column[column > 0].max() - column[column > 0].min() <= 1
    if mode == "deterministic":
        for client in range(clients):
            assert set(np.flatnonzero(counts[client])) == {(client + i) % 10 for i in range(each)}
    if mode == "first-deterministic":
        assert (counts[np.arange(clients), np.arange(clients) % 10] > 0).all()


def test_pathological_refuses_what_cannot_be() -> None:
    def deal(train: Table, **section: Any) -> None:
        partition(PathologicalPartition(name="pathological", **section), train, 0)

    with pytest.raises(DataError, match="num_classes_per_partition to at most 3"):
        deal(random_table(50, 3), num_partitions=2, num_classes_per_partition=4)
    with pytest.raises(DataError, match=r"leave label \d of 10 classes to no client"):
        deal(random_table(500, 10), num_partitions=2, num_classes_per_partition=2)
    with pytest.raises(DataError, match="class_assignment_mode to deterministic"):
        deal(random_table(500, 10), num_partitions=10, num_classes_per_partition=1)
    with pytest.raises(DataError, match="want label 1 at 4 clients, but it has 2 rows"):
        deal(table([0] * 9 + [1] * 2), num_partitions=4, num_classes_per_partition=2)


def naive_dirichlet(section: DirichletPartition, labels: NDArray[np.int64], seed: int) -> list[set[int]]:
    """The partition row by row: the client whose interval of the running proportions a row falls into."""
    rng = stream(seed, "partition")
    while True:
        held: list[set[int]] = [set() for _ in range(section.num_partitions)]
        for label in sorted(set(labels.tolist())):
            share = rng.dirichlet([section.alpha] * section.num_partitions)
            full = [len(rows) > len(labels) / section.num_partitions for rows in held]
            if section.self_balancing:
                share = np.array([0 if full[client] else part for client, part in enumerate(share)])
            ends = np.rint(np.cumsum(share / share.sum()) * (labels == label).sum())
            for place, row in enumerate(rng.permutation(np.flatnonzero(labels == label))):
                held[next(client for client, end in enumerate(ends) if place < end)].add(int(row))
        if min(len(rows) for rows in held) >= section.min_partition_size:
            return held


@pytest.mark.parametrize("balancing", [True, False])
@pytest.mark.parametrize("alpha", [0.1, 0.5, 100.0])
def test_dirichlet_is_the_naive_one(alpha: float, balancing: bool) -> None:
    train = random_table(800, 10)
    section = DirichletPartition(
        name="dirichlet", num_partitions=6, alpha=alpha, min_partition_size=20, self_balancing=balancing
    )
    for seed in range(4):
        shares = partition(section, train, seed)
        expected = naive_dirichlet(section, train.y.numpy(), seed)
        assert [set(shares.rows(client).tolist()) for client in range(6)] == expected
        assert shares.sizes().min() >= 20


@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_dirichlet_proportions_have_the_moments_of_dirichlet(alpha: float) -> None:
    classes, each, clients = 400, 500, 5
    train = table(np.repeat(np.arange(classes), each))
    section = DirichletPartition(
        name="dirichlet",
        num_partitions=clients,
        alpha=alpha,
        min_partition_size=0,
        self_balancing=False,
    )
    proportions = label_counts(partition(section, train, 21), train, classes) / each
    mean = 1 / clients
    variance = mean * (1 - mean) / (clients * alpha + 1)
    assert proportions.mean(axis=1) == pytest.approx(mean, abs=4 * np.sqrt(variance / classes))
    assert proportions.var() == pytest.approx(variance, rel=0.15)


def test_self_balancing_evens_sizes_out() -> None:
    train = random_table(3000, 10)

    def spread(balancing: bool) -> float:
        section = DirichletPartition(name="dirichlet", alpha=0.3, min_partition_size=1, self_balancing=balancing)
        return float(np.mean([partition(section, train, seed).sizes().std() for seed in range(8)]))

    assert spread(True) < 0.85 * spread(False)


def test_dirichlet_refuses_after_a_bounded_number_of_draws() -> None:
    section = DirichletPartition(name="dirichlet", num_partitions=20, alpha=0.01, min_partition_size=25)
    with pytest.raises(DataError, match=r"in each of 100 draws of 600 rows \(2 classes\) .* 25 rows"):
        partition(section, random_table(600, 2), 0)
    with pytest.raises(DataError, match="20 clients cannot hold 25 rows each of 60 training rows"):
        partition(section, random_table(60, 2), 0)
    tiny = DirichletPartition(name="dirichlet", alpha=1e-300, min_partition_size=1)
    with pytest.raises(DataError, match=r"raise partition\.alpha"):
        partition(tiny, random_table(600, 10), 0)


def inner(**values: Any) -> InnerDirichletPartition:
    return InnerDirichletPartition(name="inner-dirichlet", **values)


def naive_inner(section: InnerDirichletPartition, labels: NDArray[np.int64], seed: int) -> list[set[int]]:
    """The partition client by client and class by class, in plain loops."""
    rng = stream(seed, "partition")
    missing = list(section.partition_sizes or ())
    stock = {label: int((labels == label).sum()) for label in sorted(set(labels.tolist()))}
    share = [
        dict(zip(stock, each, strict=True)) for each in rng.dirichlet([section.alpha] * len(stock), size=len(missing))
    ]
    held = [dict.fromkeys(stock, 0) for _ in missing]
    while sum(missing):
        left = [label for label in stock if stock[label]]
        asked = []
        for client, rows in enumerate(missing):
            part = np.array([share[client][label] for label in left])
            part = part / part.max()
            asked.append(rng.multinomial(rows, part / part.sum()))
        for place, label in enumerate(left):
            wanted = np.array([each[place] for each in asked])
            if wanted.sum() > stock[label]:
                wanted = rng.multivariate_hypergeometric(wanted, stock[label], method="marginals")
            for client, rows in enumerate(wanted.tolist()):
                held[client][label] += rows
                missing[client] -= rows
                stock[label] -= rows
    clients: list[set[int]] = [set() for _ in held]
    for label in stock:
        order = rng.permutation(np.flatnonzero(labels == label)).tolist()
        for mine, counts in zip(clients, held, strict=True):
            mine.update(order[: counts[label]])
            order = order[counts[label] :]
    return clients


@pytest.mark.parametrize("alpha", [0.1, 0.5, 100.0])
def test_inner_dirichlet_is_the_naive_one(alpha: float) -> None:
    train = random_table(800, 10)
    section = inner(alpha=alpha, partition_sizes=(400, 1, 99, 250, 50))
    for seed in range(4):
        shares = partition(section, train, seed)
        expected = naive_inner(section, train.y.numpy(), seed)
        assert [set(shares.rows(client).tolist()) for client in range(5)] == expected


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(1, 6),
    st.sampled_from([1e-300, 1e-3, 0.3, 1e6]),
    st.integers(0, 99),
)
def test_inner_dirichlet_keeps_sizes_and_loses_no_row(sizes: list[int], classes: int, alpha: float, seed: int) -> None:
    train = random_table(sum(sizes), classes, seed)
    shares = partition(inner(alpha=alpha, partition_sizes=sizes), train, seed)
    assert is_whole(shares, sum(sizes))
    assert shares.sizes().tolist() == sizes


@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_labels_within_clients_have_the_moments_of_dirichlet(alpha: float) -> None:
    """Dirichlet-multinomial: with A = alpha x classes and s rows, variance p(1 - p)(s + A) / (s (1 + A))."""
    classes, clients, rows = 10, 2000, 50
    train = table(np.repeat(np.arange(classes), clients * rows // classes))
    shares = partition(inner(alpha=alpha, partition_sizes=[rows] * clients), train, 3)
    proportions = label_counts(shares, train, classes) / rows
    p, a = 1 / classes, alpha * classes
    assert proportions.mean(axis=0) == pytest.approx(p)
    assert proportions.var() == pytest.approx(p * (1 - p) * (rows + a) / (rows * (1 + a)), rel=0.06)


def row_by_row(sizes: list[int], available: list[int], alpha: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Acar et al.'s loop, as in flwr-datasets: a client, then a class by its proportions among those left."""
    share = rng.dirichlet([alpha] * len(available), size=len(sizes))
    counts, stock = np.zeros((len(sizes), len(available))), np.array(available)
    for client in rng.permutation(np.repeat(np.arange(len(sizes)), sizes)):
        p = np.where(stock > 0, np.maximum(share[client], 1e-300), 0)
        label = rng.choice(len(available), p=p / p.sum())
        counts[client, label] += 1
        stock[label] -= 1
    return counts


def test_skew_is_that_of_dealing_row_by_row() -> None:
    """Also where classes run out, and for a small client as for a large one."""
    sizes, available, alpha = [120, 30, 10, 80], [150, 50, 30, 10], 0.3
    train = table(np.repeat(np.arange(4), available))

    def purity(counts: NDArray[Any]) -> NDArray[Any]:
        return np.array(((counts / counts.sum(axis=1, keepdims=True)) ** 2).sum(axis=1))

    section = inner(alpha=alpha, partition_sizes=sizes)
    mine = [purity(label_counts(partition(section, train, seed), train, 4)) for seed in range(300)]
    theirs = [purity(row_by_row(sizes, available, alpha, np.random.default_rng(seed))) for seed in range(100)]
    assert np.mean(mine, axis=0) == pytest.approx(np.mean(theirs, axis=0), abs=0.075)


def test_sizes_skewed_by_number_are_those_of_the_partition_of_that_name() -> None:
    train = random_table(1000, 5)
    both = partition(inner(num_partitions=7, quantity="linear"), train, 0)
    plain = partition(LinearPartition(name="linear", num_partitions=7), train, 0)
    assert both.sizes().tolist() == plain.sizes().tolist()
    assert partition(inner(), train, 0).sizes().tolist() == [100] * 10


def test_sizes_drawn_at_random_have_the_spread_asked_for() -> None:
    train = random_table(400_000, 2)
    logs = [
        np.log(partition(inner(num_partitions=40, quantity="log-normal", size_sigma=0.5), train, seed).sizes())
        for seed in range(20)
    ]
    assert np.mean([each.var(ddof=1) for each in logs]) == pytest.approx(0.25, rel=0.1)
    drawn = [
        partition(inner(num_partitions=20, quantity="dirichlet", size_alpha=3.0), train, seed).sizes() / 400_000
        for seed in range(60)
    ]
    assert np.var(drawn) == pytest.approx(0.05 * 0.95 / (20 * 3 + 1), rel=0.12)


def test_many_clients_of_random_sizes_each_hold_a_row() -> None:
    section = inner(num_partitions=3000, quantity="dirichlet", size_alpha=0.1, min_partition_size=1, alpha=0.01)
    shares = partition(section, random_table(10_000, 10), 0)
    assert is_whole(shares, 10_000)
    assert shares.sizes().min() >= 1


def test_inner_dirichlet_refuses_what_cannot_be() -> None:
    train = random_table(60, 3)
    with pytest.raises(DataError, match="sizes add up to 50, but the training rows are 60"):
        partition(inner(partition_sizes=(20, 30)), train, 0)
    with pytest.raises(
        DataError, match=r"would hold no rows \(60 .* clients empty\); set partition.min_partition_size to 1"
    ):
        partition(inner(num_partitions=40, quantity="dirichlet", size_alpha=0.01), train, 0)
    with pytest.raises(DataError, match=r"set partition\.num_partitions to at most 60$"):
        partition(inner(num_partitions=61), train, 0)
