"""Engines hold their contract on numbers to predict too; clipping by sample against a naive loop."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import regressions
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.engines.stacked.network import stack_network
from accord.engines.vectorised.engine import Vectorised
from accord.privacy.plan import PrivacyPlan
from accord.program import local
from accord.program.base import Engine
from accord.program.optimizers import sgd
from accord.tasks.task import Task
from engines.contract import SIZES, STREAMS, EngineContract, make_work


class _OfNumbers(EngineContract):
    @pytest.fixture
    def federation(self) -> Callable[..., FederatedData]:
        return regressions.federation

    @pytest.fixture
    def task(self) -> Callable[..., Task]:
        return regressions.task

    @pytest.mark.parametrize("unit", [None, "sample", "batch", "client", "local"])
    @pytest.mark.parametrize("value", [3.4e38, -3.4e38])
    def test_a_huge_target_reaches_no_other_client(
        self, data: FederatedData, task: Callable[..., Task], unit: str | None, value: float
    ) -> None:
        """Padding must not be given somebody's target."""
        work = make_work(task(), unit, dtype=torch.float32)
        shared, table = work.task.init(work.dtype), data.data.train
        y = table.y.clone()
        y[0] = value  # row 0 is client 0's
        poisoned = replace(data, data=replace(data.data, train=replace(table, y=y)))
        clean = {r.client: r.update for r in self.make(data).run_cohort(work, range(7), shared, 1)}
        for result in self.make(poisoned).run_cohort(work, range(7), shared, 1):
            if result.client != 0:
                assert all(torch.equal(result.update[name], clean[result.client][name]) for name in shared)


class TestSequentialOnNumbers(_OfNumbers):
    def make(self, data: FederatedData, shard_size: int = 16) -> Sequential:
        return Sequential(data, STREAMS, shard_size)


class TestVectorisedOnNumbers(_OfNumbers):
    def make(self, data: FederatedData, shard_size: int = 16) -> Vectorised:
        return Vectorised(data, STREAMS, shard_size)


ENGINES: list[Callable[[FederatedData], Engine]] = [
    lambda data: Sequential(data, STREAMS),
    lambda data: Vectorised(data, STREAMS),
]


class TestVectorisedOnNumbersWithoutKernels(_OfNumbers):
    @pytest.fixture
    def task(self) -> Callable[..., Task]:
        def make() -> Task:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return Task(torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Sigmoid(), torch.nn.Linear(6, 1)), 0)

        assert stack_network(make().model, 1) is None
        assert stack_network(regressions.task().model, 1) is not None
        return make

    def make(self, data: FederatedData, shard_size: int = 16) -> Vectorised:
        return Vectorised(data, STREAMS, shard_size)


@pytest.mark.parametrize("make", ENGINES)
@pytest.mark.parametrize("clip_norm", [0.05, 1.0, 1e6])
def test_gradients_are_clipped_row_by_row(make: Callable[[FederatedData], Engine], clip_norm: float) -> None:
    """Against the gradient of (w x + b - y)^2 written out: 2 (w x + b - y) (x, 1)."""
    made = regressions.federation(SIZES)
    task = Task(torch.nn.Sequential(torch.nn.Linear(5, 1)), 0)
    plan = PrivacyPlan("sample", clip_norm, 1e-9, 1e-3, expected_size=8)
    options: dict[str, Any] = {"optimizer": sgd(1.0), "local_epochs": None, "local_steps": 1, "plan": plan}
    work = make_work(task, None, **options)
    shared = work.task.init(work.dtype)
    (result,) = make(made).run_cohort(work, [4], shared, 1)
    held = made.train.rows(4)
    (drawn,) = local.schedule(work, len(held), STREAMS("rows", 1, 4))
    weight, bias = shared["0.weight"].numpy()[0], float(shared["0.bias"])
    total, clipped = np.zeros(6), 0
    for row in held[drawn[drawn >= 0]]:
        x, y = made.data.train.x[row].numpy(), float(made.data.train.y[row])
        gradient = 2 * (weight @ x + bias - y) * np.append(x, 1.0)
        norm = np.linalg.norm(gradient)
        clipped += int(norm > clip_norm)
        total += gradient * min(1.0, clip_norm / norm)
    found = np.append(result.update["0.weight"].numpy()[0], float(result.update["0.bias"]))
    assert found == pytest.approx(-total / 8, rel=2e-5, abs=1e-6 * clip_norm)  # factors are rounded down by 1e-5
    assert (clipped > 0) == (clip_norm < 1e6)


def test_a_step_of_the_mean_is_of_pytorchs_mean_squared_error() -> None:
    made, task = regressions.federation(SIZES), regressions.task()
    work = make_work(task, None, optimizer=sgd(1.0), batch_size=None, local_epochs=1)
    shared = task.init(torch.float64)
    (result,) = Vectorised(made, STREAMS).run_cohort(work, [3], shared, 1)
    rows = torch.from_numpy(made.train.rows(3))
    leaves = {name: value.clone().requires_grad_() for name, value in shared.items()}
    outputs = torch.func.functional_call(task.model, leaves, (made.data.train.x[rows],))
    loss = torch.nn.functional.mse_loss(outputs[:, 0], made.data.train.y[rows].double())
    loss.backward()  # type: ignore[no-untyped-call]
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        torch.testing.assert_close(result.update[name], -leaf.grad, rtol=1e-9, atol=1e-12)
