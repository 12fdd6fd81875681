"""SCAFFOLD beside Algorithm 1 written out over clients, rounds and steps."""

from collections.abc import Callable

import pytest
import torch

from accord.communication.wire import message_bytes
from accord.core.errors import StudyError
from accord.core.params import Params
from accord.core.streams import stream
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.program import local
from accord.program.optimizers import sgd
from accord.program.scaffold import CONTROL, scaffold
from accord.tasks.task import Task
from program.programs import COHORTS, SIZES, STREAMS, close, make_work, run

RATE, SERVER_RATE = 0.1, 0.7


@pytest.mark.parametrize("engine", [Sequential, Vectorised])
def test_it_is_algorithm_1(
    engine: type[Sequential], federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    table, names = data.data.train, list(work.task.trainable)
    x = work.task.init(torch.float64)
    c = {name: torch.zeros_like(x[name]) for name in names}
    own = [{name: torch.zeros_like(x[name]) for name in names} for _ in SIZES]
    states = run(scaffold(work, len(SIZES), SERVER_RATE), work, data, engine(data, STREAMS))
    for number, (clients, (state, outcome)) in enumerate(zip(COHORTS, states, strict=True), 1):
        dy: list[Params] = []
        dc: list[Params] = []
        for i in clients:
            held, y = data.train.rows(i), dict(x)
            schedule = local.schedule(work, SIZES[i], stream(4, "rows", number, i))
            for drawn in schedule:
                rows = torch.from_numpy(held[drawn[drawn >= 0]])
                leaves = {name: value.clone().requires_grad_() for name, value in y.items()}
                loss = work.task.losses(leaves, table.x[rows].double(), table.y[rows]).mean()
                g = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
                y = {name: y[name] - RATE * (g[name] - own[i][name] + c[name]) for name in names}
            new = {n: own[i][n] - c[n] + (x[n] - y[n]) / (len(schedule) * RATE) for n in names}
            dy.append({name: y[name] - x[name] for name in names})
            dc.append({name: new[name] - own[i][name] for name in names})
            own[i] = new
        part, share = len(clients) / len(SIZES), 1 / len(clients)
        x = {n: x[n] + SERVER_RATE * share * torch.stack([one[n] for one in dy]).sum(0) for n in names}
        c = {n: c[n] + part * share * torch.stack([one[n] for one in dc]).sum(0) for n in names}
        close(state.params, x)
        close({name.removeprefix(CONTROL): value for name, value in state.extra.items()}, c)
        twice = x | {CONTROL + name: value for name, value in c.items()}
        assert outcome.uplink_bytes == len(clients) * message_bytes(twice)


def test_momentum_is_refused(task: Callable[..., Task]) -> None:
    with pytest.raises(StudyError, match="plain SGD"):
        scaffold(make_work(task(), optimizer=sgd(0.1, 0.9)), 4)
