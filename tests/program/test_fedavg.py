"""Federated averaging against centralised training and a naive average; the private mean against its formula."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from accord.communication.wire import message_bytes
from accord.core import params as p
from accord.core.errors import PrivacyError
from accord.core.streams import SERVER_NOISE, bind
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.privacy import noise
from accord.privacy.plan import PrivacyPlan
from accord.program.averaging import apply_update
from accord.program.base import SERVER, Cohort
from accord.program.fedavg import fedavg
from accord.program.local import ClientWork
from accord.program.optimizers import sgd
from accord.tasks.task import Task
from released import released, widened

SIZES = [12, 30, 7]
STREAMS = bind(4)


def make_work(task: Task, plan: PrivacyPlan | None = None, **changes: Any) -> ClientWork:
    values: dict[str, Any] = {"batch_size": None, "local_epochs": None, "local_steps": 1}
    return ClientWork(task, sgd(0.3), plan=plan, dtype=torch.float64, **(values | changes))


def test_one_full_batch_step_is_centralised_sgd(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    program = fedavg(work, lambda client: float(SIZES[client]), len(SIZES))
    state = program.init(work.task.init(torch.float64))
    leaves = {name: value.clone().requires_grad_() for name, value in work.task.init(torch.float64).items()}
    optimizer = torch.optim.SGD(leaves.values(), lr=0.3)
    table = data.data.train
    for round in range(1, 11):
        state, _ = program.round(state, Cohort(round, (0, 1, 2)), Sequential(data, STREAMS), STREAMS)
        optimizer.zero_grad()
        work.task.losses(leaves, table.x.double(), table.y).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for name, value in leaves.items():
        assert float((state.params[name] - value.detach()).abs().max()) < 1e-6


def test_uniform_weights_are_the_plain_mean(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task(), batch_size=5, local_epochs=2, local_steps=None)
    engine, start = Sequential(data, STREAMS), work.task.init(torch.float64)
    program = fedavg(work, lambda client: 1.0, 3)
    state, outcome = program.round(program.init(start), Cohort(1, (0, 2)), engine, STREAMS)
    updates = [r.update for r in engine.run_cohort(work, [0, 2], start, 1)]
    for name in start:
        torch.testing.assert_close(state.params[name], start[name] + (updates[0][name] + updates[1][name]) / 2)
    size = message_bytes(updates[0])
    assert (outcome.uplink_bytes, outcome.downlink_bytes, outcome.messages) == (2 * size, 2 * size, 4)
    assert outcome.samples == {0: 24, 2: 14}


def client_plan(noise_multiplier: float = 2.0) -> PrivacyPlan:
    return PrivacyPlan("client", 0.1, noise_multiplier, 1e-3, sampling="poisson", expected_size=2)


def test_the_private_mean_is_the_noised_sum_over_the_expected_cohort(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task(), client_plan(), local_steps=5)
    engine, start = Sequential(data, STREAMS), work.task.init(torch.float64)
    program = fedavg(work, lambda client: 1.0, 3)
    state, _ = program.round(program.init(start), Cohort(7, (0, 1, 2)), engine, STREAMS)
    total = p.zeros_like(start)
    for result in engine.run_cohort(work, [0, 1, 2], start, 7):
        assert p.norm(result.update) <= 0.1
        total = p.add(total, result.update)
    std = widened(0.2, 0.1, p.count(start))
    noised = released(total, noise.gaussian(STREAMS(SERVER_NOISE, 7, SERVER), start, std), std)
    for name in start:
        # Three came, two were expected: the divisor must not tell.
        torch.testing.assert_close(state.params[name], start[name] + noised[name] / 2)


def test_an_empty_private_cohort_still_releases_noise(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    work = make_work(task(), client_plan())
    program = fedavg(work, lambda client: 1.0, 3)
    start = program.init(work.task.init(torch.float64))
    state, outcome = program.round(start, Cohort(1, ()), Sequential(federation(SIZES), STREAMS), STREAMS)
    moved = p.flatten(p.subtract(state.params, start.params))
    assert float(moved.abs().min()) > 0
    assert moved.std().item() == pytest.approx(2.0 * 0.1 / 2, rel=0.3)
    assert outcome.messages == 0


def test_an_empty_plain_cohort_changes_nothing(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    work = make_work(task())
    program = fedavg(work, lambda client: 1.0, 3)
    start = program.init(work.task.init(torch.float64))
    state, _ = program.round(start, Cohort(1, ()), Sequential(federation(SIZES), STREAMS), STREAMS)
    assert all(torch.equal(state.params[name], start.params[name]) for name in start.params)


@pytest.mark.parametrize("weight", [1.5, -0.1, float("nan"), 30.0])
def test_a_weight_without_bound_is_refused_under_client_privacy(
    federation: Callable[..., FederatedData], task: Callable[..., Task], weight: float
) -> None:
    work = make_work(task(), client_plan())
    program = fedavg(work, lambda client: weight, 3)
    start = program.init(work.task.init(torch.float64))
    with pytest.raises(PrivacyError, match="outside \\[0, 1\\]"):
        program.round(start, Cohort(1, (0,)), Sequential(federation(SIZES), STREAMS), STREAMS)


def test_apply_update_leaves_what_it_does_not_carry() -> None:
    params = {"w": torch.ones(2), "frozen": torch.full((1,), 7.0)}
    after = apply_update(params, {"w": torch.tensor([1.0, 2.0])})
    assert after["w"].tolist() == [2.0, 3.0]
    assert after["frozen"] is params["frozen"]


def test_server_noise_has_the_accounted_variance(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    """Over many rounds with nobody there, each coordinate's variance is (z C / m)^2."""
    from scipy import stats

    work = make_work(task(), client_plan())
    program = fedavg(work, lambda client: 1.0, 3)
    start = program.init(work.task.init(torch.float64))
    engine = Sequential(federation(SIZES), STREAMS)
    moves = [
        p.flatten(p.subtract(program.round(start, Cohort(r, ()), engine, STREAMS)[0].params, start.params))
        for r in range(1, 101)
    ]
    draws = torch.stack(moves).numpy().reshape(-1) / (2.0 * 0.1 / 2)
    low, high = stats.chi2.ppf([0.0005, 0.9995], df=draws.size)
    assert low < float(np.square(draws).sum()) < high
