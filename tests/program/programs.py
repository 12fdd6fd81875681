"""What tests of programs share: clients, work, and rounds run one after the other."""

from typing import Any

import torch

from accord.core.params import Params
from accord.core.streams import bind
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.program.base import Cohort, Program, RoundOutcome, ServerState
from accord.program.local import ClientWork
from accord.program.optimizers import sgd
from accord.tasks.task import Task

SIZES = [12, 30, 7, 20]
STREAMS = bind(4)
COHORTS = ((0, 2, 3), (1, 2), (3, 0, 1))


def make_work(task: Task, **changes: Any) -> ClientWork:
    values: dict[str, Any] = {"batch_size": 5, "local_epochs": 2, "local_steps": None, "plan": None}
    values |= {"optimizer": sgd(0.1), "dtype": torch.float64}
    return ClientWork(task, **(values | changes))


def size(client: int) -> float:
    return float(SIZES[client])


def updates(
    work: ClientWork, data: FederatedData, clients: tuple[int, ...], shared: Params, round_number: int
) -> list[Params]:
    """Each client's update, by the reference engine with nothing carried."""
    return [result.update for result in Sequential(data, STREAMS).run_cohort(work, clients, shared, round_number)]


def run(
    program: Program, work: ClientWork, data: FederatedData, engine: Sequential | None = None
) -> list[tuple[ServerState, RoundOutcome]]:
    """The states after each of three rounds, and what they cost."""
    engine = engine or Sequential(data, STREAMS)
    state, seen = program.init(work.task.init(torch.float64)), []
    for number, clients in enumerate(COHORTS, 1):
        state, outcome = program.round(state, Cohort(number, clients), engine, STREAMS)
        seen.append((state, outcome))
    return seen


def close(a: Params, b: Params) -> None:
    assert set(a) == set(b)
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=1e-9, atol=1e-12)
