"""Partitions by label, each against a naive one, closed forms, or flwr-datasets' algorithm."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from accord.config.partition import DirichletPartition, PathologicalPartition
from accord.core.errors import DataError
from accord.core.streams import stream
from accord.data.federated import Table
from accord.data.partition import label_counts, partition
from label_tables import random_table, table


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
    tiny = DirichletPartition(name="dirichlet", alpha=1e-300, min_partition_size=1, self_balancing=True)
    with pytest.raises(DataError, match=r"raise partition\.alpha"):
        partition(tiny, random_table(600, 10), 0)


def test_a_list_of_alphas_gives_each_client_its_own() -> None:
    """Of a class, client k gets in expectation alpha_k / sum(alpha)."""
    train = random_table(4000, 10)
    alphas = (0.5, 1.0, 3.5)
    section = DirichletPartition(name="dirichlet", num_partitions=3, alpha=alphas, min_partition_size=1)
    held = [label_counts(partition(section, train, seed), train, 10) for seed in range(200)]
    assert np.mean(held, axis=0).sum(axis=1) / 4000 == pytest.approx(np.array(alphas) / 5, abs=0.01)
    with pytest.raises(ValueError, match="alpha lists 3 numbers, but num_partitions is 10; give one a client"):
        DirichletPartition(name="dirichlet", alpha=alphas)


def test_clients_are_not_balanced_by_default_as_in_flwr_datasets() -> None:
    assert not DirichletPartition(name="dirichlet").self_balancing
