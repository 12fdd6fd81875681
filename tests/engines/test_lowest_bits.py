"""An adversary of the lowest bits (Mironov 2012): a float sum with float noise is not private, which it shows, and it
finds nothing in what engines release.

It knows everything but whether one row (or client) is there: the sum with it, the sum without it, the mechanism. For
each number of a message it asks whether any float32 noise could have led from the sum to that number. One number that
cannot come from the sum with the row says that the row is not there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from accord.core.streams import bind
from accord.data.federated import DataSet, FederatedData, Table
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.engines.vectorised.speed import Speed
from accord.privacy import clipping, noise, rounding
from accord.privacy.plan import PrivacyPlan
from accord.program.base import Cohort, Engine
from accord.program.fedavg import fedavg
from accord.program.local import ClientWork
from accord.program.optimizers import sgd
from accord.tasks.task import Task
from conftest import shares
from released import coarse_step, widened

FEATURES, CLASSES, ROWS = 25_000, 4, 8
NUMBERS = FEATURES * CLASSES
MESSAGES = 24
PLANS = {
    "local": PrivacyPlan("local", 0.5, 14.0, 1e-3, sampling="everyone"),
    "client": PrivacyPlan("client", 0.5, 14.0, 1e-3, expected_size=2),
    "sample": PrivacyPlan("sample", 0.5, 14.0, 1e-3),
}
Mechanism = Callable[[Tensor, Tensor], Tensor]


class Bare(nn.Module):
    """A layer that no engine has kernels for."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(CLASSES, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        return x @ self.weight.t()


def known() -> nn.Module:
    layer = nn.Linear(FEATURES, CLASSES, bias=False)
    nn.init.zeros_(layer.weight)
    return nn.Sequential(layer)


ENGINES: dict[str, tuple[Callable[[FederatedData, int], Engine], Callable[[], nn.Module]]] = {
    "sequential": (lambda data, seed: Sequential(data, bind(seed)), known),
    "mapped": (lambda data, seed: Vectorised(data, bind(seed)), Bare),
    "stacked": (lambda data, seed: Vectorised(data, bind(seed), speed=Speed(compile=False)), known),
    "compiled": (lambda data, seed: Vectorised(data, bind(seed), speed=Speed(compile=True)), known),
}


def make_data(present: bool) -> FederatedData:
    """Rows of zeros, which contribute nothing, and one row that is there or not."""
    x = torch.zeros(ROWS, FEATURES)
    if present:
        x[0] = torch.from_numpy(np.random.default_rng(1).normal(size=FEATURES).astype(np.float32)) / 10
    table = Table(x, torch.arange(ROWS) % CLASSES)
    names = tuple("abcd")
    return FederatedData(DataSet("made", table, table, names, "Made."), shares([ROWS]), shares([ROWS]))


@dataclass(frozen=True)
class Setting:
    """A unit at work in an engine, and what an adversary makes of its messages."""

    unit: str
    engine: str

    @property
    def work(self) -> ClientWork:
        plan = PLANS[self.unit]
        return ClientWork(Task(ENGINES[self.engine][1](), CLASSES), sgd(1.0), None, None, 1, plan)

    def message(self, present: bool, seed: int) -> Tensor:
        """What was released of the sum, flat: an update or a model, times what it is known to have been divided by."""
        data, work = make_data(present), self.work
        engine, start = ENGINES[self.engine][0](data, seed), work.task.init()
        (name,) = start
        if self.unit == "client":
            program = fedavg(work, lambda client: 1.0, 2)
            state, _ = program.round(program.init(start), Cohort(1, (0,)), engine, bind(seed))
            return (state.params[name] * 2).reshape(-1)
        (result,) = engine.run_cohort(work, [0], start, 1)
        return (result.update[name] * (-ROWS if self.unit == "sample" else 1)).reshape(-1)

    def total(self) -> Tensor:
        """The clipped sum with the row; without it, the sum is 0."""
        data, work, plan = make_data(True), self.work, PLANS[self.unit]
        start = {name: value.requires_grad_() for name, value in work.task.init().items()}
        table = data.data.train
        losses = work.task.losses(start, table.x, table.y)
        (gradient,) = torch.autograd.grad(losses[0], list(start.values()))
        if self.unit != "sample":
            gradient = gradient / -ROWS
        return clipping.clip({"w": gradient}, plan.clip_norm)["w"].reshape(-1)


def impossible(message: Tensor, total: Tensor, mechanism: Mechanism) -> int:
    """Numbers of the message that no noise leads to from `total`: the difference and its neighbours are tried."""
    left = mechanism(total, message - total) != message
    message, total = message[left], total[left]
    reached = torch.zeros_like(message, dtype=torch.bool)
    for way in (-math.inf, math.inf):
        near = message - total
        for _ in range(3):
            near = torch.nextafter(near, torch.full_like(near, way))
            reached |= mechanism(total, near) == message
    return int((~reached).sum())


def lower_bound(present: list[int], absent: list[int], delta: float) -> float:
    """What epsilon is at least, at 95%: Clopper-Pearson bounds of the best threshold, found on half of the messages."""
    half = len(present) // 2
    best = 0.0
    for sign in (1, -1):
        one, other = sign * np.array(present), sign * np.array(absent)
        seen = np.unique([*one[:half], *other[:half]])
        between = [*((seen[1:] + seen[:-1]) / 2), seen[0]]
        gains = {t: (other[:half] >= t).mean() - (one[:half] >= t).mean() for t in between}
        threshold = max(gains, key=lambda t: gains[t])
        hits, false = int((other[half:] >= threshold).sum()), int((one[half:] >= threshold).sum())
        n = len(present) - half
        low = stats.beta.ppf(0.0125, hits, n - hits + 1) if hits else 0.0
        high = stats.beta.ppf(0.9875, false + 1, n - false) if false < n else 1.0
        best = max(best, math.log((low - delta) / high) if low > delta else 0.0)
    return best


def plain_sum(total: Tensor, drawn: Tensor) -> Tensor:
    """The mechanism as it was."""
    return total + drawn


@pytest.mark.parametrize("unit", PLANS)
def test_noise_added_to_a_float_sum_gives_the_row_away(unit: str) -> None:
    """What the adversary can do at all: much more than what is claimed."""
    plan, total = PLANS[unit], Setting(unit, "sequential").total()
    counts: dict[bool, list[int]] = {True: [], False: []}
    for present, found in counts.items():
        for seed in range(5 * MESSAGES):
            drawn = noise.gaussian(bind(seed)("noise", present, 1), {"w": total}, plan.noise_std)["w"]
            message = plain_sum(total if present else torch.zeros_like(total), drawn)
            found.append(impossible(message, total, plain_sum))
    claimed = plan.epsilon(2, 1)
    assert claimed < 0.6
    assert max(counts[True]) == 0
    assert lower_bound(counts[True], counts[False], plan.delta) > 2.5 > 4 * claimed


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("unit", PLANS)
def test_what_is_released_gives_nothing_away(unit: str, engine: str) -> None:
    setting, plan = Setting(unit, engine), PLANS[unit]
    total, std = setting.total(), widened(plan.noise_std, plan.sensitivity, NUMBERS)
    mechanisms = [plain_sum, lambda total, drawn: rounding.released(total, drawn, std)]
    counts: list[dict[bool, list[int]]] = [{True: [], False: []} for _ in mechanisms]
    signal: dict[bool, list[float]] = {True: [], False: []}
    for present in (True, False):
        for seed in range(MESSAGES):
            message = setting.message(present, seed)
            assert len(message) == NUMBERS
            assert float(message.std()) == pytest.approx(std, rel=0.02)
            # Every number is a whole number of steps that depend on the noise alone.
            assert not bool((message.double() % coarse_step(std)).any())
            signal[present].append(float(message.double() @ total.double()))
            for found, mechanism in zip(counts, mechanisms, strict=True):
                found[present].append(impossible(message, total, mechanism))
    # The row was there, of full norm, where it was said to be: the adversary looks at the right sums.
    assert float(total.norm()) == pytest.approx(plan.clip_norm, rel=1e-3)
    gap = np.mean(signal[True]) - np.mean(signal[False])
    assert gap == pytest.approx(plan.clip_norm**2, abs=4 * plan.clip_norm * std * (2 / MESSAGES) ** 0.5)
    for found in counts:
        assert lower_bound(found[True], found[False], plan.delta) <= plan.epsilon(2, 1)
