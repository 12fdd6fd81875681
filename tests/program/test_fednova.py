"""Normalised averaging beside its equations; equal steps make it federated averaging."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from accord.core.errors import StudyError
from accord.data.federated import FederatedData
from accord.program.fedavg import fedavg
from accord.program.fednova import fednova, reach
from accord.program.optimizers import sgd
from accord.tasks.task import Task
from program.programs import COHORTS, SIZES, close, make_work, run, size, updates


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_reach_is_the_sum_of_the_gradients_weights(momentum: float, steps: int) -> None:
    """Each gradient of 1 moves the parameter by its weight in all later steps."""
    moved, velocity = 0.0, 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1.0
        moved += velocity
    assert reach(steps, momentum) == pytest.approx(moved)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_it_follows_the_paper(
    momentum: float, federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task(), optimizer=sgd(0.05, momentum))
    steps = {client: work.steps(n) for client, n in enumerate(SIZES)}
    assert len(set(steps.values())) > 2
    x = work.task.init(torch.float64)
    states = run(fednova(work, size, steps, momentum), work, data)
    for number, (clients, (state, outcome)) in enumerate(zip(COHORTS, states, strict=True), 1):
        shares = [SIZES[client] / sum(SIZES[c] for c in clients) for client in clients]
        far = [reach(steps[client], momentum) for client in clients]
        effective = sum(share * a for share, a in zip(shares, far, strict=True))
        for share, a, update in zip(shares, far, updates(work, data, clients, x, number), strict=True):
            x = {name: value + effective * share * update[name] / a for name, value in x.items()}
        close(state.params, x)
        assert outcome.measures == {"effective_steps": pytest.approx(effective)}


def test_equal_steps_make_it_federated_averaging(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task(), local_epochs=None, local_steps=3)
    nova = run(fednova(work, size, dict.fromkeys(range(4), 3), 0.0), work, data)[-1][0]
    close(nova.params, run(fedavg(work, size, 4), work, data)[-1][0].params)


def test_batch_norm_is_refused() -> None:
    task = Task(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)), 3)
    with pytest.raises(StudyError, match="buffers"):
        fednova(make_work(task), size, {}, 0.0)
