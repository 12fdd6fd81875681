"""A private step rounds the noised sum into the parameters once: post-processing of what the plan accounts."""

import pytest
import torch

from accord.engines.vectorised.engine import Vectorised
from accord.engines.vectorised.speed import Speed
from accord.privacy.plan import PrivacyPlan
from accord.program.optimizers import sgd
from engines.compiled.test_client import make_data, make_work
from engines.contract import STREAMS, reference_update


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("rate", [1e-5, 1e-6])
def test_the_sum_is_not_rounded_by_itself(rate: float, compile: bool) -> None:
    """At parameters of 0.75 and steps of a few units in their last place, every other order of adding shows."""
    plan = PrivacyPlan("sample", 1.0, 0.5, 1e-3, expected_size=8)
    work = make_work("wide", plan=plan, optimizer=sgd(rate), local_epochs=None, local_steps=1)
    data = make_data((300,))
    shared = {name: torch.full_like(value, 0.75) for name, value in work.task.init().items()}
    (found,) = Vectorised(data, STREAMS, speed=Speed(compile=compile)).run_cohort(work, [1], shared, 3)
    expected = reference_update(work, data, 1, shared, 3)  # one after the other: sum, noise, and then the parameters
    same = [(found.update[name] == value).float().mean() for name, value in expected.items()]
    moved = [(value != 0).float().mean() for value in expected.values()]
    assert min(same) > 0.98
    assert max(moved) > 0.3
