"""Schedules have the values of torch.optim.lr_scheduler, and reach the local steps of every engine."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from accord.config.training import Schedule, Training
from accord.core.errors import StudyError
from accord.core.streams import bind
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.program.client_work import make_work
from accord.program.local import ClientWork
from accord.program.optimizers import sgd
from accord.program.schedules import make_factor
from accord.tasks.task import Task

ROUNDS = 23


def torch_factors(
    make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], rounds: int = ROUNDS
) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, factors = make(optimizer), []
    for _ in range(ROUNDS):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def warmed(optimizer: torch.optim.Optimizer, then: Any, rounds: int = 5) -> lr_scheduler.LRScheduler:
    first = lr_scheduler.LinearLR(optimizer, start_factor=0.2, end_factor=1.0, total_iters=rounds)
    return lr_scheduler.SequentialLR(optimizer, [first, then(optimizer)], milestones=[rounds])


CASES: list[tuple[dict[str, Any], Any]] = [
    ({}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ({"name": "step", "step_size": 4, "gamma": 0.5}, lambda o: lr_scheduler.StepLR(o, 4, 0.5)),
    ({"name": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, ROUNDS)),
    ({"name": "cosine", "final_share": 0.1}, lambda o: lr_scheduler.CosineAnnealingLR(o, ROUNDS, eta_min=0.1)),
    (
        {"warmup_rounds": 5, "warmup_start": 0.2},
        lambda o: lr_scheduler.LinearLR(o, start_factor=0.2, end_factor=1.0, total_iters=5),
    ),
    (
        {"name": "step", "step_size": 3, "warmup_rounds": 5, "warmup_start": 0.2},
        lambda o: warmed(o, lambda same: lr_scheduler.StepLR(same, 3, 0.1)),
    ),
    (
        {"name": "cosine", "warmup_rounds": 5, "warmup_start": 0.2},
        lambda o: warmed(o, lambda same: lr_scheduler.CosineAnnealingLR(same, ROUNDS - 5)),
    ),
]


@pytest.mark.parametrize(("settings", "make"), CASES)
def test_a_schedule_is_torchs(settings: dict[str, Any], make: Any) -> None:
    factor = make_factor(Schedule.model_validate(settings), ROUNDS)
    assert [factor(number) for number in range(1, ROUNDS + 1)] == pytest.approx(torch_factors(make), rel=1e-9)


def halved(round_number: int, rounds: int, base: float = 0.5) -> float:
    return base ** (round_number - 1)


def broken(round_number: int, rounds: int) -> float:
    return float(3 - round_number)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    import sys

    monkeypatch.setitem(sys.modules, "my_schedules", sys.modules[__name__])
    return "my_schedules"


def test_a_schedule_of_ones_own(here: str) -> None:
    factor = make_factor(Schedule(name=f"{here}:halved", settings={"base": 0.25}), 4)
    assert [factor(number) for number in (1, 2, 3, 4)] == [1.0, 0.25, 0.0625, 0.015625]
    with pytest.raises(StudyError, match=r"must return a factor above 0, but returns 0 for round 3 of 4"):
        make_factor(Schedule(name=f"{here}:broken"), 4)
    with pytest.raises(StudyError, match="fails when called with round 1 of 4: TypeError"):
        make_factor(Schedule(name=f"{here}:halved", settings={"bass": 1}), 4)


@pytest.mark.parametrize("kind", [Sequential, Vectorised])
def test_each_round_trains_at_its_own_rate(
    kind: Any, federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, made = federation([12, 30, 7]), task()
    section = Training.model_validate({"schedule": {"name": "step", "step_size": 1, "gamma": 0.5}, "dtype": "float64"})
    scheduled = make_work(section, made, None, rounds=4)
    engine, shared = kind(data, bind(1)), made.init(torch.float64)
    for number in (1, 3):
        plain = ClientWork(made, sgd(0.1 * 0.5 ** (number - 1)), 32, 1, None, None, torch.float64)
        expected = Sequential(data, bind(1)).sum_cohort(plain, [0, 1, 2], shared, number, [1.0] * 3).total
        summed = engine.sum_cohort(scheduled, [0, 1, 2], shared, number, [1.0] * 3).total
        (result,) = engine.run_cohort(scheduled, [1], shared, number)
        (alone,) = Sequential(data, bind(1)).run_cohort(plain, [1], shared, number)
        for name, value in expected.items():
            torch.testing.assert_close(summed[name], value)
            torch.testing.assert_close(result.update[name], alone.update[name])
