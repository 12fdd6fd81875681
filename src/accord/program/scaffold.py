"""SCAFFOLD: control variates remove the drift of clients with dissimilar data from their steps.

S. P. Karimireddy, S. Kale, M. Mohri, S. Reddi, S. Stich, A. T. Suresh. SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning. ICML 2020, arXiv 1910.06378, Algorithm 1, option II. Clients step by g - c_i + c, and send their
updates and the changes of their c_i. The server computes x <- x + eta_g mean(dy) and c <- c + |S| / N mean(dc).
"""

from dataclasses import dataclass, replace

import torch

from accord.config.programs.scaffold import ScaffoldProgram
from accord.core import params as p
from accord.core.checks import positive
from accord.core.errors import StudyError
from accord.core.params import Params
from accord.core.streams import Streams
from accord.program.averaging import Averaging, apply_update
from accord.program.base import Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local import ClientWork
from accord.program.local_rule import LocalRule, RoundEnd, RuleResult

CONTROL = "control/"
"""The prefix of a parameter's name for its control variate."""


@dataclass(frozen=True)
class ControlVariates(LocalRule):
    """Corrects each gradient by c - c_i, the server's control variate minus the client's own."""

    prefix = CONTROL
    sends = True
    needs_plain_sgd = True

    def offset(self, server: Params, client: Params) -> Params:
        """Returns c - c_i."""
        return p.subtract(server, client)

    def finish(self, end: RoundEnd) -> RuleResult:
        """Computes option II: c_i+ = c_i - c + (x - y) / (K eta), with y after K steps at rate eta.

        Raises:
            StudyError: the optimiser is not plain SGD.
        """
        if end.rate is None:
            raise StudyError("control variates (scaffold) need plain SGD: training.optimizer sgd without momentum")
        carried, sent = {}, {}
        for name, pull in end.offset.items():
            # The offset is c - c_i, so the old c_i is c minus it, and c_i - c is its negative.
            before = end.server[name] - pull
            carried[name] = (end.start[name] - end.params[name]) / (end.steps * end.rate) - pull
            sent[name] = carried[name] - before
        return RuleResult(carried, sent)


def scaffold(work: ClientWork, population: int, server_learning_rate: float = 1.0) -> Program:
    """SCAFFOLD. A message has twice the numbers, since it contains the model and the control variate.

    Args:
        work: what each client does, with plain SGD.
        population: N, the number of clients.
        server_learning_rate: eta_g, > 0.

    Raises:
        StudyError: the local optimiser has a state of its own.
    """
    positive(server_learning_rate=server_learning_rate)
    controlled = replace(work, rule=ControlVariates())
    averaging = Averaging(controlled, lambda client: 1.0, population)

    def init(params: Params) -> ServerState:
        return averaging.start(params, {CONTROL + name: torch.zeros_like(params[name]) for name in work.task.trainable})

    def round(state: ServerState, cohort: Cohort, engine: Engine, streams: Streams) -> tuple[ServerState, RoundOutcome]:
        shared = state.params | state.extra
        mean, extra, outcome = averaging.round(state, shared, cohort, engine, streams)
        part = len(cohort.clients) / population
        extra = {name: value + part * mean[name] if name in mean else value for name, value in extra.items()}
        step = {name: server_learning_rate * value for name, value in mean.items() if not name.startswith(CONTROL)}
        return ServerState(apply_update(state.params, step), extra), outcome

    return Program(init, round)


def build(section: ScaffoldProgram, context: ProgramContext) -> Program:
    """Builds the program from its section of a study."""
    return scaffold(context.work, context.population, section.server_learning_rate)
