"""Each server optimiser beside its equations, number by number; buffers are averaged."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from accord.data.federated import FederatedData
from accord.program.fedopt import ServerOptimizer, fedopt
from accord.tasks.task import Task
from program.programs import COHORTS, SIZES, close, make_work, run, size, updates


@pytest.mark.parametrize("kind", ["adam", "yogi", "adagrad", "sgd"])
def test_it_follows_the_paper(
    kind: ServerOptimizer, federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    eta, beta1, beta2, tau = 0.03, 0.8, 0.95, 1e-2
    x = work.task.init(torch.float64)
    m = {name: torch.zeros_like(value) for name, value in x.items()}
    v = {name: torch.full_like(value, tau**2) for name, value in x.items()}
    states = run(fedopt(work, size, len(SIZES), kind, eta, beta1, beta2, tau), work, data)
    for number, (clients, (state, _)) in enumerate(zip(COHORTS, states, strict=True), 1):
        sent = updates(work, data, clients, x, number)
        total = sum(SIZES[client] for client in clients)
        for name in x:
            d = sum(SIZES[c] / total * update[name] for c, update in zip(clients, sent, strict=True))
            assert isinstance(d, torch.Tensor)
            if kind == "sgd":
                m[name] = beta1 * m[name] + d
                x[name] = x[name] + eta * m[name]
                continue
            m[name] = beta1 * m[name] + (1 - beta1) * d
            if kind == "adagrad":
                v[name] = v[name] + d**2
            elif kind == "yogi":
                v[name] = v[name] - (1 - beta2) * d**2 * (v[name] - d**2).sign()
            else:
                v[name] = beta2 * v[name] + (1 - beta2) * d**2
            x[name] = x[name] + eta * m[name] / (v[name] ** 0.5 + tau)
        close(state.params, x)


def test_buffers_are_averaged(federation: Callable[..., FederatedData]) -> None:
    task = Task(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)), 3)
    data, work = federation(SIZES), make_work(task, batch_size=None)
    start = work.task.init(torch.float64)
    (state, _), *_ = run(fedopt(work, lambda client: 1.0, len(SIZES), "adam", 0.01), work, data)
    sent = updates(work, data, COHORTS[0], start, 1)
    name = "1.running_mean"
    expected = start[name] + sum(update[name] for update in sent) / len(sent)
    torch.testing.assert_close(state.params[name], expected)


@pytest.mark.parametrize("values", [{"server_learning_rate": 0.0}, {"server_learning_rate": 0.1, "tau": 0.0}])
def test_what_makes_no_sense_is_refused(values: dict[str, float], task: Callable[..., Task]) -> None:
    with pytest.raises(ValueError, match="must be > 0"):
        fedopt(make_work(task()), size, 4, "adam", **values)
