"""Partitions by size and label together, against the loops of flwr-datasets and plain ones."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from accord.config.partition import InnerDirichletParallelPartition, InnerDirichletPartition, LinearPartition
from accord.core.errors import DataError
from accord.core.streams import stream
from accord.data.partition import label_counts, partition
from label_tables import is_whole, random_table, table


def inner(**values: Any) -> InnerDirichletPartition:
    return InnerDirichletPartition(name="inner-dirichlet", **values)


def parallel(**values: Any) -> InnerDirichletParallelPartition:
    return InnerDirichletParallelPartition(name="inner-dirichlet-parallel", **values)


def naive_parallel(section: InnerDirichletParallelPartition, labels: NDArray[np.int64], seed: int) -> list[set[int]]:
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
def test_inner_dirichlet_parallel_is_the_naive_one(alpha: float) -> None:
    train = random_table(800, 10)
    section = parallel(alpha=alpha, partition_sizes=(400, 1, 99, 250, 50))
    for seed in range(4):
        shares = partition(section, train, seed)
        expected = naive_parallel(section, train.y.numpy(), seed)
        assert [set(shares.rows(client).tolist()) for client in range(5)] == expected


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(1, 6),
    st.sampled_from([1e-300, 1e-3, 0.3, 1e6]),
    st.integers(0, 99),
)
def test_sizes_are_kept_and_no_row_is_lost(sizes: list[int], classes: int, alpha: float, seed: int) -> None:
    train = random_table(sum(sizes), classes, seed)
    for make in (inner, parallel):
        shares = partition(make(alpha=alpha, partition_sizes=sizes), train, seed)
        assert is_whole(shares, sum(sizes))
        assert shares.sizes().tolist() == sizes


@pytest.mark.parametrize("make", [inner, parallel])
@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_labels_within_clients_have_the_moments_of_dirichlet(alpha: float, make: Any) -> None:
    """Dirichlet-multinomial: with A = alpha x classes and s rows, variance p(1 - p)(s + A) / (s (1 + A))."""
    classes, clients, rows = 10, 2000, 50
    train = table(np.repeat(np.arange(classes), clients * rows // classes))
    shares = partition(make(alpha=alpha, partition_sizes=[rows] * clients), train, 3)
    proportions = label_counts(shares, train, classes) / rows
    p, a = 1 / classes, alpha * classes
    assert proportions.mean(axis=0) == pytest.approx(p)
    assert proportions.var() == pytest.approx(p * (1 - p) * (rows + a) / (rows * (1 + a)), rel=0.06)


def flwr(sizes: list[int], available: list[int], alpha: Any, rng: np.random.Generator) -> NDArray[np.float64]:
    """Acar et al.'s loop, as flwr-datasets has it: a client that is not full, uniformly, then a class by its prior."""
    prior = rng.dirichlet(np.broadcast_to(alpha, len(available)), size=len(sizes))
    counts, stock, room = np.zeros((len(sizes), len(available))), np.array(available), np.array(sizes)
    while room.any():
        client = rng.choice(np.flatnonzero(room))
        p = np.where(stock > 0, np.maximum(prior[client], 1e-300), 0)
        label = rng.choice(len(available), p=p / p.sum())
        counts[client, label] += 1
        stock[label] -= 1
        room[client] -= 1
    return counts


SIZES, AVAILABLE = [220, 12, 60, 8], [120, 90, 60, 30]


def moments(counts: Any) -> NDArray[np.float64]:
    """What is compared: each client's rows by class, and how pure it is."""
    held = np.array(counts)
    purity = ((held / held.sum(axis=2, keepdims=True)) ** 2).sum(axis=2)
    return np.concatenate([held.reshape(len(held), -1), 100 * purity], axis=1)


def furthest(mine: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """The largest distance of two means, in standard errors."""
    error = np.sqrt(mine.var(axis=0) / len(mine) + theirs.var(axis=0) / len(theirs))
    return float((np.abs(mine.mean(axis=0) - theirs.mean(axis=0)) / error).max())


@pytest.mark.parametrize("alpha", [0.3, [0.2, 0.5, 1.0, 3.0]])
def test_the_distribution_is_that_of_flwr_datasets_for_clients_of_unlike_sizes(alpha: Any) -> None:
    """A client is drawn uniformly for each row, so that small ones are full while all classes last."""
    train = table(np.repeat(np.arange(4), AVAILABLE))
    theirs = moments([flwr(SIZES, AVAILABLE, alpha, np.random.default_rng(seed)) for seed in range(250)])

    def drawn(make: Any) -> NDArray[np.float64]:
        section = make(alpha=alpha, partition_sizes=SIZES)
        return moments([label_counts(partition(section, train, seed), train, 4) for seed in range(1500)])

    assert furthest(drawn(inner), theirs) < 4.0
    # The other one is another distribution: were it taken for this one, the test would say so.
    assert furthest(drawn(parallel), theirs) > 4.0


def test_each_class_may_have_an_alpha_of_its_own() -> None:
    train = random_table(60, 3)
    with pytest.raises(DataError, match=r"partition\.alpha lists 2 numbers, but the training rows have 3 classes"):
        partition(inner(num_partitions=2, alpha=(0.5, 1.0)), train, 0)


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
