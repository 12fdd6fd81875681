"""Adaptive clipping beside its equations, and what it refuses."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from accord.core import params as p
from accord.core.errors import PrivacyError
from accord.core.streams import SERVER_NOISE
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.privacy import noise
from accord.privacy.plan import AdaptiveClipping, PrivacyPlan
from accord.program.averaging import CLIP_NORM
from accord.program.base import SERVER, Cohort
from accord.program.fedavg import fedavg
from accord.tasks.task import Task
from program.programs import COHORTS, SIZES, STREAMS, close, make_work, run
from released import released, widened

ADAPTIVE = AdaptiveClipping(target_quantile=0.6, learning_rate=0.3, count_noise=1.5)
PLAN = PrivacyPlan("client", 0.4, 0.8, 1e-2, sampling="everyone", adaptive=ADAPTIVE)


@pytest.mark.parametrize("engine", [Sequential, Vectorised])
def test_the_norm_follows_the_quantile(
    engine: type[Sequential], federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task(), plan=PLAN)
    x, clip_norm = work.task.init(torch.float64), 0.4
    states = run(fedavg(work, lambda client: 1.0, 4), work, data, engine(data, STREAMS))
    moved = []
    for number, (clients, (state, outcome)) in enumerate(zip(COHORTS, states, strict=True), 1):
        whole = [r.update for r in Sequential(data, STREAMS).run_cohort(make_work(task()), clients, x, number)]
        norms = [p.norm(update) for update in whole]
        stream = STREAMS(SERVER_NOISE, number, SERVER)
        z = (0.8**-2 - (2 * 1.5) ** -2) ** -0.5
        std = widened(z * clip_norm, clip_norm, p.count(x))
        drawn, total = noise.gaussian(stream, x, std), p.zeros_like(x)
        for update, far in zip(whole, norms, strict=True):
            total = p.add(total, update, min(1.0, clip_norm / (far * (1 + 1e-5))))
        x = p.add(x, released(total, drawn, std), 1 / 4)
        counted = {"n": torch.tensor(sum((far <= clip_norm) - 0.5 for far in norms), dtype=torch.float64)}
        count_std = widened(1.5, 0.5, 1)
        normal = {"n": torch.tensor(count_std * stream.standard_normal(), dtype=torch.float64)}
        share = float(released(counted, normal, count_std)["n"]) / 4 + 0.5
        assert outcome.measures == {"clip_norm": clip_norm, "within_clip_norm": pytest.approx(share, rel=1e-12)}
        clip_norm *= math.exp(-0.3 * (share - 0.6))
        close(state.params, x)
        assert float(state.extra[CLIP_NORM]) == pytest.approx(clip_norm)
        moved.append(clip_norm)
        clip_norm = float(state.extra[CLIP_NORM])
    assert len({round(value, 6) for value in moved}) == 3


def test_weights_are_refused(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    data, work = federation(SIZES), make_work(task(), plan=PLAN)
    program = fedavg(work, lambda client: 0.5, 4)
    with pytest.raises(PrivacyError, match="weights uniform"):
        program.round(program.init(work.task.init(torch.float64)), Cohort(1, (0,)), Sequential(data, STREAMS), STREAMS)


def test_the_sum_and_the_count_together_cost_what_is_accounted() -> None:
    """Two Gaussians at noise z_Delta and 2 sigma_b compose to one at z: 1/z^2 = 1/z_Delta^2 + 1/(2 sigma_b)^2."""
    z_delta = PLAN.noise_std / PLAN.clip_norm
    assert z_delta**-2 + (2 * 1.5) ** -2 == pytest.approx(0.8**-2)
    same = replace(PLAN, adaptive=None)
    assert PLAN.epsilon(4, 10) == same.epsilon(4, 10)
    # The count's share of Sum(b_i - 1/2) moves by 1/2 when a client comes or goes.
    unclipped = np.array([1, 0, 1, 1])
    assert {abs((np.delete(unclipped, i) - 0.5).sum() - (unclipped - 0.5).sum()) for i in range(4)} == {0.5}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise_multiplier": 3.0}, "spends all that noise_multiplier"),
        ({"unit": "sample", "sampling": "poisson", "expected_size": 5}, "needs unit client"),
        ({"per_layer": True}, "no per_layer"),
    ],
)
def test_plans_that_cannot_be(changes: dict[str, object], words: str) -> None:
    with pytest.raises(PrivacyError, match=words):
        replace(PLAN, **changes)  # type: ignore[arg-type]
