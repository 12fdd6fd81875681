"""q-FedAvg beside its equations; q of 0 is federated averaging of equal weights."""

from collections.abc import Callable

import pytest
import torch

from accord.core.params import add, all_finite, norm
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.program.fedavg import fedavg
from accord.program.qffl import qffl
from accord.tasks.task import Task
from program.programs import COHORTS, SIZES, STREAMS, close, make_work, run, updates


@pytest.mark.parametrize("q", [0.5, 1.0, 3.0])
def test_it_follows_the_paper(q: float, federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    data, work, big = federation(SIZES), make_work(task()), 1 / 0.1
    x = work.task.init(torch.float64)
    for number, (clients, (state, _)) in enumerate(zip(COHORTS, run(qffl(work, q, 0.1), work, data), strict=True), 1):
        losses = Sequential(data, STREAMS).client_losses(work, clients, x)
        upper = {name: torch.zeros_like(value) for name, value in x.items()}
        lower = 0.0
        for loss, update in zip(losses, updates(work, data, clients, x, number), strict=True):
            d = {name: -big * value for name, value in update.items()}
            upper = {name: value + loss**q * d[name] for name, value in upper.items()}
            square = float(sum((value**2).sum() for value in d.values()))
            lower += q * loss ** (q - 1) * square + big * loss**q
        x = {name: value - upper[name] / lower for name, value in x.items()}
        close(state.params, x)


def test_q_of_nought_is_federated_averaging(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    fair = run(qffl(work, 0.0, 0.1), work, data)[-1][0].params
    close(fair, run(fedavg(work, lambda client: 1.0, 4), work, data)[-1][0].params)


@pytest.mark.parametrize("learning_rate", [1.0, 1e-45])
@pytest.mark.parametrize("q", [800.0, 1e6, 1e300])
def test_any_q_is_reckoned_with(
    q: float, learning_rate: float, federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    for (state, outcome), clients in zip(run(qffl(work, q, learning_rate), work, data), COHORTS, strict=True):
        assert all_finite(state.params)
        assert set(outcome.samples) == set(clients)


def test_a_large_q_follows_the_worst_client(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work, q = federation(SIZES), make_work(task()), 2000.0
    x = work.task.init(torch.float64)
    losses = Sequential(data, STREAMS).client_losses(work, COHORTS[0], x)
    worst = max(range(len(losses)), key=lambda place: losses[place])
    others = [loss / losses[worst] for place, loss in enumerate(losses) if place != worst]
    assert max(others) ** q < 1e-12  # they weigh nothing
    update = updates(work, data, COHORTS[0], x, 1)[worst]
    divisor = q / losses[worst] * norm(update) ** 2 / 0.1 + 1
    state, _ = run(qffl(work, q, 0.1), work, data)[0]
    close(state.params, add(x, update, 1 / divisor))
