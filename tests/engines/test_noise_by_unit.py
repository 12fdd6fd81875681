"""The noise that is really in what each engine gives back, by unit: every parameter's mean and standard deviation.

Nothing of the code under test makes the reference. Gradients come of plain autograd, row by row; clipping is written
out; standard deviations are the closed forms of docs/privacy.md. Rows are all drawn (rate 1), so that what differs
between rounds is noise alone, and its squares follow a chi-square law.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from accord.core.streams import bind
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.engines.vectorised.speed import Speed
from accord.privacy.plan import PrivacyPlan
from accord.program.base import Cohort, Engine
from accord.program.fedavg import fedavg
from accord.program.local import ClientWork
from accord.program.optimizers import sgd
from accord.tasks.task import Task

SIZES = [9, 14, 6]
ROUNDS = 80
RATE, CLIP, NOISE = 0.5, 0.3, 1.7
LEVEL = 1e-7
"""Chance that one comparison fails of a right engine; there are some hundred."""
WIDER = 1.003
"""Noise may be a little wider than the closed form, to pay for rounding; never narrower."""


class Unstacked(nn.Module):
    """A layer without kernels: engines map it or loop over clients."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(3, 5, generator=generator) / 3)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t() + self.bias


def dense() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


ENGINES: dict[str, tuple[Callable[[FederatedData], Engine], Callable[[], nn.Module]]] = {
    "sequential": (lambda data: Sequential(data, bind(5)), dense),
    "stacked": (lambda data: Vectorised(data, bind(5), speed=Speed(compile=False)), dense),
    "stacked alone": (lambda data: Vectorised(data, bind(5), speed=Speed(compile=False, chunk_size=1)), dense),
    "compiled": (lambda data: Vectorised(data, bind(5), speed=Speed(compile=True)), dense),
    "mapped": (lambda data: Vectorised(data, bind(5)), Unstacked),
}


@pytest.fixture
def data(federation: Callable[..., FederatedData]) -> FederatedData:
    made = federation(SIZES)
    for table in (made.data.train, made.data.test):
        object.__setattr__(table, "x", table.x.float())
    return made


def make_work(unit: str, module: nn.Module, **changes: Any) -> ClientWork:
    sampling = "poisson" if unit in ("sample", "batch") else "everyone"
    plan = PrivacyPlan(unit, CLIP, NOISE, 1e-3, sampling=sampling, **changes)  # type: ignore[arg-type]
    return ClientWork(Task(module, 3), sgd(RATE), None, None, 1, plan, torch.float32)


def clipped(parts: dict[str, Tensor], bound: float) -> dict[str, Tensor]:
    norm = torch.sqrt(sum((value.square().sum() for value in parts.values()), torch.zeros(())))
    return {name: value * min(1.0, bound / float(norm)) for name, value in parts.items()}


def gradient(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    F.cross_entropy(module(x), y).backward()  # type: ignore[no-untyped-call]
    return {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}


def expected(unit: str, module: nn.Module, data: FederatedData, client: int) -> tuple[dict[str, Tensor], float]:
    """What one step's update is without noise, and the noise's standard deviation, by the definitions."""
    rows = torch.from_numpy(data.train.rows(client))
    x, y = data.data.train.x[rows], data.data.train.y[rows]
    if unit == "sample":
        each = [clipped(gradient(module, x[i : i + 1], y[i : i + 1]), CLIP) for i in range(len(rows))]
        mean = {name: torch.stack([one[name] for one in each]).sum(0) / len(rows) for name in each[0]}
        return {name: -RATE * value for name, value in mean.items()}, RATE * NOISE * CLIP / len(rows)
    step = gradient(module, x, y)
    if unit == "batch":
        return {name: -RATE * value for name, value in clipped(step, CLIP).items()}, RATE * NOISE * CLIP
    return clipped(
        {name: -RATE * value for name, value in step.items()}, CLIP
    ), NOISE * CLIP if unit == "local" else 0.0


def check_normal(draws: np.ndarray[Any, Any], mean: np.ndarray[Any, Any], std: float, where: str) -> None:
    """Draws `[rounds, numbers]` are independent N(mean, std²), std at most a little wider."""
    rounds, numbers = draws.shape
    centred = (draws - mean) / std
    # Sum of squares about the known mean: chi-square of as many degrees as there are draws.
    total = float((centred**2).sum())
    assert stats.chi2.cdf(total, draws.size) > LEVEL, f"{where}: too little noise"
    assert stats.chi2.sf(total / WIDER**2, draws.size) > LEVEL, f"{where}: too much noise, or another mean"
    for number in range(numbers):
        one = float((centred[:, number] ** 2).sum())
        assert stats.chi2.cdf(one, rounds) > LEVEL / 10, f"{where}[{number}]: too little noise"
        assert stats.chi2.sf(one / WIDER**2, rounds) > LEVEL / 10, f"{where}[{number}]: too much noise, or another mean"
    assert stats.kstest(centred.ravel(), "norm").pvalue > LEVEL, f"{where}: no normal law"


def uncorrelated(draws: np.ndarray[Any, Any]) -> bool:
    """Whether no two columns of `[rounds, numbers]` go together."""
    numbers = draws.shape[1]
    found = np.corrcoef(draws.T) - np.eye(numbers)
    limit = stats.norm.isf(LEVEL / numbers**2) / np.sqrt(len(draws))
    return bool(np.abs(found).max() < limit)


def updates(engine: Engine, work: ClientWork) -> Iterator[list[dict[str, Tensor]]]:
    """Every client's update of each round, from the same parameters."""
    shared = work.task.init(work.dtype)
    for number in range(1, ROUNDS + 1):
        results = list(engine.run_cohort(work, [0, 1, 2], shared, number))
        yield [dict(result.update) for result in results]


@pytest.mark.parametrize("unit", ["sample", "batch", "local"])
@pytest.mark.parametrize("kind", ENGINES)
def test_every_parameter_has_its_noise(data: FederatedData, kind: str, unit: str) -> None:
    make, network = ENGINES[kind]
    module = network()
    work = make_work(unit, module)
    rounds = list(updates(make(data), work))
    flat = []
    for client in range(3):
        mean, std = expected(unit, module, data, client)
        for name, value in mean.items():
            draws = np.stack([each[client][name].double().numpy().ravel() for each in rounds])
            check_normal(draws, value.double().numpy().ravel(), std, f"client {client}, {name}")
            flat.append(draws)
    assert uncorrelated(np.concatenate(flat, axis=1)), "noise is shared by parameters or clients"


@pytest.mark.parametrize("kind", ENGINES)
def test_steps_draw_anew(data: FederatedData, kind: str) -> None:
    """Two steps at a learning rate too small to move the gradient: their variances add up."""
    make, network = ENGINES[kind]
    module, tiny = network(), 1e-3
    work = replace(make_work("sample", module), optimizer=sgd(tiny), local_steps=2)
    rounds = list(updates(make(data), work))
    mean, std = expected("sample", module, data, 0)
    for name, value in mean.items():
        draws = np.stack([each[0][name].double().numpy().ravel() for each in rounds]) * RATE / tiny
        check_normal(draws, 2 * value.double().numpy().ravel(), 2**0.5 * std, name)


@pytest.mark.parametrize("kind", ENGINES)
def test_under_unit_client_the_sum_alone_has_noise(data: FederatedData, kind: str) -> None:
    make, network = ENGINES[kind]
    module = network()
    work, engine = make_work("client", module), make(data)
    shared = work.task.init(work.dtype)
    for result in engine.run_cohort(work, [0, 1, 2], shared, 1):
        mean, _ = expected("client", module, data, result.client)
        for name, value in mean.items():
            torch.testing.assert_close(result.update[name], value, rtol=1e-4, atol=1e-6)
    program = fedavg(work, lambda client: 1.0, 3)
    start = program.init(shared)
    ends = [program.round(start, Cohort(number, (0, 1, 2)), engine, bind(5))[0] for number in range(1, ROUNDS + 1)]
    means = [expected("client", module, data, client)[0] for client in range(3)]
    flat = []
    for name, value in shared.items():
        draws = np.stack([(end.params[name] - value).double().numpy().ravel() for end in ends])
        middle = torch.stack([each[name] for each in means]).mean(0).double().numpy().ravel()
        check_normal(draws, middle, NOISE * CLIP / 3, name)
        flat.append(draws)
    assert uncorrelated(np.concatenate(flat, axis=1))
