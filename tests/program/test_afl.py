"""The mixture climbs to the client with the largest loss; the projection beside a quadratic programme."""

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.program.afl import LOSS_BYTES, MIXTURE, afl, to_simplex
from accord.program.base import Cohort
from accord.program.fedavg import fedavg
from accord.tasks.task import Task
from program.programs import COHORTS, SIZES, STREAMS, close, make_work, run, updates


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6))
def test_the_projection_is_the_nearest_point(values: list[float]) -> None:
    point = np.array(values)
    found = to_simplex(torch.tensor(values, dtype=torch.float64)).numpy()
    assert (found >= 0).all()
    assert abs(found.sum() - 1) < 1e-9
    start = np.full(len(values), 1 / len(values))
    best = minimize(
        lambda x: ((x - point) ** 2).sum(),
        start,
        bounds=[(0, 1)] * len(values),
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
        options={"ftol": 1e-12},
    )
    assert ((found - point) ** 2).sum() <= best.fun + 1e-6


def test_it_follows_the_paper(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    data, work = federation(SIZES), make_work(task())
    x, mixture = work.task.init(torch.float64), torch.full((4,), 0.25, dtype=torch.float64)
    for number, (clients, (state, outcome)) in enumerate(
        zip(COHORTS, run(afl(work, 4, 0.3), work, data), strict=True), 1
    ):
        losses = Sequential(data, STREAMS).client_losses(work, clients, x)
        mine = [float(mixture[client]) for client in clients]
        sent = updates(work, data, clients, x, number)
        for weight, update in zip(mine, sent, strict=True):
            x = {name: value + weight / sum(mine) * update[name] for name, value in x.items()}
        for client, loss in zip(clients, losses, strict=True):
            mixture[client] += 0.3 * loss
        mixture = to_simplex(mixture)
        close(state.params, x)
        torch.testing.assert_close(state.extra[MIXTURE], mixture)
        assert outcome.measures["worst_loss"] == max(losses)
        plain = fedavg(work, lambda client: 1.0, 4)
        _, cheap = plain.round(plain.init(x), Cohort(number, clients), Sequential(data, STREAMS), STREAMS)
        assert outcome.uplink_bytes == cheap.uplink_bytes + LOSS_BYTES * len(clients)


def test_an_empty_cohort_changes_nothing(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    data, work = federation(SIZES), make_work(task())
    program = afl(work, 4, 0.3)
    before = program.init(work.task.init(torch.float64))
    after, _ = program.round(before, Cohort(1, ()), Sequential(data, STREAMS), STREAMS)
    close(after.params, before.params)
