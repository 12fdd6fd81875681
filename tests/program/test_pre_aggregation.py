"""Mixing and bucketing beside loops, and what they promise."""

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.program import robust_rules as rules
from accord.program.pre_aggregation import bucketing, buckets, nearest_neighbour_mixing

drawn = settings(derandomize=True, deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)


def normal(clients: int, numbers: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(clients, numbers)))


@drawn
@given(malicious=st.integers(0, 3), more=st.integers(1, 5), seed=seeds)
def test_mixing_is_that_of_a_loop(malicious: int, more: int, seed: int) -> None:
    """Allouah et al. 2023, Algorithm 2."""
    updates = normal(2 * malicious + more, 3, seed)
    rows = updates.tolist()
    expected = []
    for row in rows:
        nearest = sorted(rows, key=lambda other: math.dist(row, other))[: len(rows) - malicious]
        expected.append([statistics.fmean(column) for column in zip(*nearest, strict=True)])
    found = nearest_neighbour_mixing(updates, malicious).tolist()
    assert found == [pytest.approx(row, rel=1e-12, abs=1e-12) for row in expected]


def test_mixing_brings_honest_clients_together_and_leaves_outliers_out() -> None:
    honest, far = normal(7, 3, 1), normal(2, 3, 2) + 1e6
    mixed = nearest_neighbour_mixing(torch.cat([honest, far]), 2)
    assert float(mixed[:7].std(dim=0).max()) < 1e-6
    torch.testing.assert_close(mixed[0], honest.mean(dim=0))
    torch.testing.assert_close(rules.median(mixed), honest.mean(dim=0))


@pytest.mark.parametrize(("clients", "malicious"), [(4, 2), (3, -1), (1, 1)])
def test_mixing_needs_a_majority(clients: int, malicious: int) -> None:
    with pytest.raises(ValueError, match=rf"malicious {malicious} needs {2 * malicious + 1} clients, got {clients}"):
        nearest_neighbour_mixing(normal(clients, 2, 0), malicious)


@drawn
@given(clients=st.integers(1, 12), size=st.integers(1, 5), seed=seeds)
def test_bucketing_is_means_of_each_client_once(clients: int, size: int, seed: int) -> None:
    """Karimireddy et al. 2022, Algorithm 1."""
    updates, weights = normal(clients, 3, seed), torch.arange(1.0, clients + 1, dtype=torch.float64)
    cut = buckets(clients, size, np.random.default_rng(seed))
    assert sorted(client for bucket in cut for client in bucket) == list(range(clients))
    assert len(cut) == -(-clients // size)
    assert all(len(bucket) == size for bucket in cut[:-1])
    means, heavy = bucketing(updates, weights, size, np.random.default_rng(seed))
    for bucket, mean, weight in zip(cut, means.tolist(), heavy.tolist(), strict=True):
        columns = zip(*(updates[client].tolist() for client in bucket), strict=True)
        assert mean == pytest.approx([statistics.fmean(column) for column in columns])
        assert weight == sum(client + 1 for client in bucket)


def test_buckets_are_drawn_anew() -> None:
    rng = np.random.default_rng(0)
    assert buckets(20, 2, rng) != buckets(20, 2, rng)
