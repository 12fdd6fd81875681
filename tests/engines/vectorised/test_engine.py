"""The vectorised engine holds the contract with kernels and without, at any thread count."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from accord.core.streams import stream
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.engines.stacked.network import stack_network
from accord.engines.vectorised import chunks
from accord.engines.vectorised.engine import Vectorised
from accord.engines.vectorised.speed import Speed
from accord.program import local
from accord.program.optimizers import sgd
from accord.tasks.task import Task
from engines.contract import SIZES, STREAMS, EngineContract, close, make_work


class TestVectorised(EngineContract):
    def make(self, data: FederatedData, shard_size: int = 16) -> Vectorised:
        return Vectorised(data, STREAMS, shard_size)


class TestVectorisedOneThread(EngineContract):
    def make(self, data: FederatedData, shard_size: int = 16) -> Vectorised:
        return Vectorised(data, STREAMS, shard_size, speed=Speed(threads=1))


class TestVectorisedWithoutKernels(EngineContract):
    """Every model without a stacked form runs under vmap."""

    @pytest.fixture
    def task(self) -> Callable[..., Task]:
        def make() -> Task:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return Task(nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 3)), 3)

        assert stack_network(make().model, 1) is None
        return make

    def make(self, data: FederatedData, shard_size: int = 16) -> Vectorised:
        return Vectorised(data, STREAMS, shard_size)


@pytest.mark.parametrize("unit", [None, "sample", "client"])
def test_the_same_bits_at_any_thread_count(
    federation: Callable[..., FederatedData], task: Callable[..., Task], unit: str | None
) -> None:
    options: dict[str, Any] = {"dtype": torch.float32}
    work = make_work(task(), unit, **options)
    shared = work.task.init(work.dtype)
    sums = [
        Vectorised(federation(SIZES), STREAMS, 2, speed=Speed(threads=threads))
        .sum_cohort(work, range(7), shared, 1, [1.0] * 7)
        .total
        for threads in (1, 2, 3, 8)
    ]
    for other in sums[1:]:
        assert all(torch.equal(sums[0][name], other[name]) for name in shared)


@pytest.mark.parametrize("cohort", [[3], [3, 4], list(range(7))])
def test_the_same_bits_at_any_thread_count_where_steps_are_shared(
    federation: Callable[..., FederatedData],
    task: Callable[..., Task],
    cohort: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two chunks, and a lone client's batch in two pieces."""
    monkeypatch.setattr(chunks, "_SHARED_FLOPS", 0.0)
    options: dict[str, Any] = {"dtype": torch.float32, "optimizer": sgd(0.1)}
    work = make_work(task(), "sample", **options)
    shared = work.task.init(work.dtype)
    sums = [
        Vectorised(federation(SIZES), STREAMS, 16, speed=Speed(threads=threads))
        .sum_cohort(work, cohort, shared, 1, [1.0] * len(cohort))
        .total
        for threads in (1, 2, 3)
    ]
    for other in sums[1:]:
        assert all(torch.equal(sums[0][name], other[name]) for name in shared)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("shard_size", [2, 16])
def test_any_chunk_size_gives_the_same_sum_but_for_rounding(
    federation: Callable[..., FederatedData], task: Callable[..., Task], chunk_size: int, shard_size: int
) -> None:
    work = make_work(task(), "sample")
    shared = work.task.init(work.dtype)
    data, weights = federation(SIZES), [0.1 * (c + 1) for c in range(7)]
    engine = Vectorised(data, STREAMS, shard_size, speed=Speed(chunk_size=chunk_size))
    found = engine.sum_cohort(work, range(7), shared, 2, weights)
    expected = Sequential(data, STREAMS, shard_size).sum_cohort(work, range(7), shared, 2, weights)
    close(found.total, expected.total)
    assert (found.samples, found.steps) == (expected.samples, expected.steps)


def test_padding_is_counted(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    """Sizes 12 and 30 in batches of 8: the last rows of each pass, 4 and 6, are stacked with wider ones."""
    work = make_work(task(), None, local_epochs=1)
    shared = work.task.init(work.dtype)
    data = federation(SIZES)
    assert Vectorised(data, STREAMS).sum_cohort(work, [0, 1], shared, 1, [1.0, 1.0]).padding == 4
    assert (
        Vectorised(data, STREAMS, speed=Speed(chunk_size=1)).sum_cohort(work, [0, 1], shared, 1, [1.0, 1.0]).padding
        == 0
    )


def test_the_steps_told_are_the_steps_taken(
    federation: Callable[..., FederatedData], task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run holds them against what the ledger was charged."""
    work = make_work(task(), "sample")
    shared, schedule = work.task.init(work.dtype), local.schedule

    def twice(work: Any, n: int, rng: Any) -> Any:
        rows = schedule(work, n, rng)
        return np.concatenate([rows, rows])

    monkeypatch.setattr(local, "schedule", twice)
    summed = Vectorised(federation(SIZES), STREAMS).sum_cohort(work, [0, 1], shared, 1, [1.0, 1.0])
    assert summed.steps == {client: 2 * work.steps(SIZES[client]) for client in (0, 1)}


def test_an_embedding_runs_stacked(federation: Callable[..., FederatedData]) -> None:
    """Tokens stay whole numbers."""
    data = federation(SIZES)
    tokens = stream(1, "tokens").integers(7, size=(len(data.data.train), 4))
    table = replace(data.data.train, x=torch.from_numpy(tokens))
    data = replace(data, data=replace(data.data, train=table))
    for unit in (None, "sample"):
        work = make_work(Task(nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(12, 3)), 3), unit)
        shared = work.task.init(work.dtype)
        fast = Vectorised(data, STREAMS).sum_cohort(work, range(4), shared, 1, [1.0] * 4)
        slow = Sequential(data, STREAMS).sum_cohort(work, range(4), shared, 1, [1.0] * 4)
        close(fast.total, slow.total)


def test_batch_norm_runs_under_vmap(federation: Callable[..., FederatedData]) -> None:
    task = Task(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)), 3)
    work = make_work(task, None, batch_size=None)
    shared = work.task.init(work.dtype)
    data = federation(SIZES)
    fast = Vectorised(data, STREAMS).sum_cohort(work, range(3), shared, 1, [1.0] * 3)
    slow = Sequential(data, STREAMS).sum_cohort(work, range(3), shared, 1, [1.0] * 3)
    close(fast.total, slow.total)
