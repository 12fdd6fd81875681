"""The reference engine holds the contract, and says which client failed where."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from accord.core import params as p
from accord.core.errors import ClientError
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.privacy.plan import PrivacyPlan
from accord.program.local import ClientWork
from accord.program.optimizers import sgd
from accord.tasks.task import Task
from engines.contract import SIZES, STREAMS, EngineContract, make_work


class TestSequential(EngineContract):
    def make(self, data: FederatedData, shard_size: int = 16) -> Sequential:
        return Sequential(data, STREAMS, shard_size)


def test_a_failure_names_client_round_and_stage(federation: Callable[..., FederatedData]) -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            if len(x) == 7:
                raise RuntimeError("seven rows\nare too many")
            return self.linear(x)  # type: ignore[no-any-return]

    work = make_work(Task(Fails(), 3), None, batch_size=None)
    engine = Sequential(federation(SIZES), STREAMS)
    shared = work.task.init(work.dtype)
    with pytest.raises(ClientError, match="client 2, round 4, step: seven rows") as caught:
        list(engine.run_cohort(work, [0, 2], shared, 4))
    assert (caught.value.client, caught.value.round, caught.value.stage) == (2, 4, "step")
    assert "\n" not in str(caught.value)


def test_noise_is_really_in_the_model(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    """The same work at two noise levels differs by exactly the difference of the noise."""
    updates = []
    for noise in (1e-3, 5.0):
        plan = PrivacyPlan("sample", 0.5, noise, 1e-3, expected_size=8)
        options = {"local_epochs": None, "local_steps": 1, "optimizer": sgd(1.0), "plan": plan}
        work = make_work(task(), None, **options)
        (result,) = Sequential(federation(SIZES), STREAMS).run_cohort(work, [4], work.task.init(work.dtype), 1)
        updates.append(result.update)
    gap = p.flatten(p.subtract(updates[1], updates[0]))
    expected = 5.0 * 0.5 / 8
    assert gap.std().item() == pytest.approx(expected, rel=0.3)
    assert gap.abs().min().item() > 0


def test_parameters_really_move(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    for unit in (None, "sample", "batch", "client"):
        work = make_work(task(), unit)
        (result,) = Sequential(federation(SIZES), STREAMS).run_cohort(work, [4], work.task.init(work.dtype), 1)
        assert all(float(value.abs().max()) > 0 for value in result.update.values())


def test_poisson_batches_may_be_empty(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    plan = PrivacyPlan("sample", 0.5, 1.0, 1e-3, expected_size=1)
    options = {"batch_size": 1, "local_epochs": None, "local_steps": 60, "plan": plan}
    work: ClientWork = make_work(task(), None, **options)
    (result,) = Sequential(federation(SIZES), STREAMS).run_cohort(work, [4], work.task.init(work.dtype), 1)
    # 60 steps at rate 1/41 leave about 36 of 100 batches empty; all of them were taken and noised.
    assert result.steps == 60
    assert 20 < result.samples < 110
    assert p.all_finite(result.update)


def test_a_shard_holds_at_least_one_client(federation: Callable[..., FederatedData]) -> None:
    with pytest.raises(ValueError, match="shard_size must be > 0"):
        Sequential(federation(SIZES), STREAMS, shard_size=0)


def test_batches_are_on_the_engines_device(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    """`meta` stands for a device that is not the CPU."""
    engine, work = Sequential(federation(SIZES), STREAMS, device=torch.device("meta")), make_work(task(), None)
    for rows in ([3, 5], []):
        batch = engine._batch(work, np.array(rows, dtype=np.int64))
        assert {part.device.type for part in batch} == {"meta"}
        assert {len(part) for part in batch} == {max(1, len(rows))}
    assert Sequential(federation(SIZES), STREAMS)._device.type == "cpu"
