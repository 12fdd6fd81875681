"""The model hops: a round is each client's work on what the one before left."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from accord.core.errors import PrivacyError
from accord.core.streams import bind
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.privacy.plan import PrivacyPlan
from accord.program.base import Cohort
from accord.program.cyclic import cyclic
from accord.program.local import ClientWork
from accord.program.optimizers import sgd
from accord.tasks.task import Task

SIZES = [12, 30, 7]
STREAMS = bind(4)


def make_work(task: Task, plan: PrivacyPlan | None = None) -> ClientWork:
    return ClientWork(task, sgd(0.3), 5, 1, None, plan, torch.float64)


def hop(work: ClientWork, engine: Sequential, order: list[int], round_number: int) -> dict[str, torch.Tensor]:
    params = work.task.init(torch.float64)
    for client in order:
        (result,) = engine.run_cohort(work, [client], params, round_number)
        params = {name: value + result.update[name] for name, value in params.items()}
    return params


def test_a_round_is_the_clients_in_turn(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    work = make_work(task())
    engine, program = Sequential(federation(SIZES), STREAMS), cyclic(work)
    start = program.init(work.task.init(torch.float64))
    state, outcome = program.round(start, Cohort(2, (0, 1, 2)), engine, STREAMS)
    expected = hop(work, engine, [0, 1, 2], 2)
    assert all(torch.equal(state.params[name], expected[name]) for name in expected)
    assert outcome.messages == 6
    assert outcome.uplink_bytes == outcome.downlink_bytes > 0
    assert outcome.samples == {0: 12, 1: 30, 2: 7}


def test_one_client_is_plain_sgd(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    """With a single client and full batches, cyclic is gradient descent."""
    data = federation([40])
    work = ClientWork(task(), sgd(0.3), None, None, 3, None, torch.float64)
    program = cyclic(work)
    state, _ = program.round(
        program.init(work.task.init(torch.float64)), Cohort(1, (0,)), Sequential(data, STREAMS), STREAMS
    )
    leaves = {name: value.clone().requires_grad_() for name, value in work.task.init(torch.float64).items()}
    optimizer = torch.optim.SGD(leaves.values(), lr=0.3)
    for _ in range(3):
        optimizer.zero_grad()
        work.task.losses(leaves, data.data.train.x.double(), data.data.train.y).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for name, value in leaves.items():
        torch.testing.assert_close(state.params[name], value.detach(), rtol=1e-12, atol=1e-12)


def test_shuffled_order_is_drawn_anew_each_round(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    work = make_work(task())
    engine, program = Sequential(federation([5] * 8), STREAMS), cyclic(work, "shuffled")
    start = program.init(work.task.init(torch.float64))
    orders: list[list[int]] = []
    for round in (1, 2, 1):
        _, outcome = program.round(start, Cohort(round, tuple(range(8))), engine, STREAMS)
        orders.append(list(outcome.samples))
    assert sorted(orders[0]) == list(range(8))
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_client_privacy_is_refused(task: Callable[..., Task]) -> None:
    plan: Any = PrivacyPlan("client", 1.0, 1.0, 1e-3, sampling="everyone")
    with pytest.raises(PrivacyError, match="needs a noised sum"):
        cyclic(make_work(task(), plan))
