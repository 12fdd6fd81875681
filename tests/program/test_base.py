"""The protocols hold together: a program runs on anything that keeps the engine's contract."""

from collections.abc import Callable, Iterator, Sequence

import torch

from accord.core import params as p
from accord.core.params import Params
from accord.core.streams import bind
from accord.program.base import ClientResult, Cohort, CohortSum, ServerState
from accord.program.fedavg import fedavg
from accord.program.local import ClientWork
from accord.program.optimizers import sgd
from accord.tasks.task import Task


class EchoEngine:
    """Every client sends its own number in every coordinate."""

    def __init__(self) -> None:
        self.carried: dict[int, Params] = {}

    def client_losses(self, work: ClientWork, cohort: Sequence[int], shared: Params) -> list[float]:
        return [float(client) for client in cohort]

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[int], shared: Params, round_number: int
    ) -> Iterator[ClientResult]:
        for client in cohort:
            yield ClientResult(client, {k: torch.full_like(v, float(client)) for k, v in shared.items()}, 1, 1)

    def sum_cohort(
        self, work: ClientWork, cohort: Sequence[int], shared: Params, round_number: int, weights: Sequence[float]
    ) -> CohortSum:
        total = p.zeros_like(shared)
        for result, weight in zip(self.run_cohort(work, cohort, shared, round_number), weights, strict=True):
            total = p.add(total, result.update, weight)
        ones = dict.fromkeys(cohort, 1)
        return CohortSum(total, ones, ones)


def test_a_program_needs_no_more_than_the_protocol(task: Callable[..., Task]) -> None:
    made = task()
    work = ClientWork(made, sgd(0.1), None, 1, None, None)
    program = fedavg(work, lambda client: float(client), 10)
    start = program.init(made.init())
    state, outcome = program.round(start, Cohort(1, (1, 2, 3)), EchoEngine(), bind(0))
    assert isinstance(state, ServerState)
    assert outcome.steps == {1: 1, 2: 1, 3: 1}
    for name, value in start.params.items():  # (1 + 4 + 9) / 6
        torch.testing.assert_close(state.params[name] - value, torch.full_like(value, 14 / 6), rtol=1e-4, atol=1e-5)
