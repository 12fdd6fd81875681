"""The vectorised engine holds the contract with kernels and without, at any thread count."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.engines.stacked import stack_network
from accord.engines.vectorised import Vectorised
from accord.task import Task
from engines.contract import SIZES, STREAMS, EngineContract, close, make_work


class TestVectorised(EngineContract):
    def make(self, data: FederatedData, shard_size: int = 16) -> Vectorised:
        return Vectorised(data, STREAMS, shard_size)


class TestVectorisedOneThread(EngineContract):
    def make(self, data: FederatedData, shard_size: int = 16) -> Vectorised:
        return Vectorised(data, STREAMS, shard_size, threads=1)


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
        Vectorised(federation(SIZES), STREAMS, 2, threads=threads)
        .sum_cohort(work, range(7), shared, 1, [1.0] * 7)
        .total
        for threads in (1, 2, 3, 8)
    ]
    for other in sums[1:]:
        assert all(torch.equal(sums[0][name], other[name]) for name in shared)


def test_batch_norm_runs_under_vmap(federation: Callable[..., FederatedData]) -> None:
    task = Task(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)), 3)
    work = make_work(task, None, batch_size=None)
    shared = work.task.init(work.dtype)
    data = federation(SIZES)
    fast = Vectorised(data, STREAMS).sum_cohort(work, range(3), shared, 1, [1.0] * 3)
    slow = Sequential(data, STREAMS).sum_cohort(work, range(3), shared, 1, [1.0] * 3)
    close(fast.total, slow.total)
