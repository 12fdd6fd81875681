"""Parameters that a network does not use, beside `torch.optim`, which leaves them alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import networks
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.privacy.plan import PrivacyPlan
from accord.program.local import ClientWork
from accord.program.optimizers import Optimizer, adam, adamw, sgd
from accord.tasks.task import Task
from engines.contract import STREAMS, make_plan

OPTIMIZERS: list[tuple[Optimizer, Any, dict[str, Any]]] = [
    (sgd(0.1, 0.9, 0.3), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}),
    (sgd(0.1, 0.0, 0.3), torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.3}),
    (adam(0.05, weight_decay=0.3), torch.optim.Adam, {"lr": 0.05, "weight_decay": 0.3}),
    (adamw(0.05, weight_decay=0.3), torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.3}),
]


def spare_work(data: FederatedData, optimizer: Optimizer, plan: PrivacyPlan | None = None) -> ClientWork:
    task = Task(networks.with_a_spare_layer((5,), 3), 3)
    task = replace(task, unused=task.unreached(data.data.train.x[:2].float()))
    return ClientWork(task, optimizer, None, None, 3, plan, torch.float64)


@pytest.mark.parametrize("engine", [Sequential, Vectorised])
@pytest.mark.parametrize(("ours", "theirs", "options"), OPTIMIZERS)
def test_three_steps_are_torchs(
    engine: Any, ours: Optimizer, theirs: Any, options: dict[str, Any], federation: Callable[..., FederatedData]
) -> None:
    data = federation([12, 30])
    work = spare_work(data, ours)
    shared = work.task.init(torch.float64)
    results = list(engine(data, STREAMS).run_cohort(work, [0, 1], shared, 1))
    for result in results:
        model = networks.with_a_spare_layer((5,), 3).double()
        model.load_state_dict(shared)
        optimizer = theirs(model.parameters(), **options)
        rows = torch.from_numpy(data.train.rows(result.client))
        for _ in range(3):
            optimizer.zero_grad()
            table = data.data.train
            loss = torch.nn.functional.cross_entropy(model(table.x[rows].double()), table.y[rows])
            torch.autograd.backward(loss)
            optimizer.step()
        for name, value in model.named_parameters():
            torch.testing.assert_close(shared[name] + result.update[name], value.detach(), rtol=1e-9, atol=1e-12)
    assert all(not bool(results[0].update[name].any()) for name in work.task.unused)


@pytest.mark.parametrize("engine", [Sequential, Vectorised])
def test_noise_goes_to_them_too(engine: Any, federation: Callable[..., FederatedData]) -> None:
    """Or what is left without would tell which parameters a client's rows use."""
    data = federation([12, 30])
    work = spare_work(data, sgd(0.1, 0.9, 0.3), make_plan("sample", expected_size=None))
    assert work.unused == ()
    (result,) = engine(data, STREAMS).run_cohort(work, [0], work.task.init(torch.float64), 1)
    assert all(bool((value != 0).all()) for value in result.update.values())
