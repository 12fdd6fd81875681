"""SCAFFOLD: control variates take the drift of clients with unlike data out of their steps.

S. P. Karimireddy, S. Kale, M. Mohri, S. Reddi, S. Stich, A. T. Suresh. SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning. ICML 2020, arXiv 1910.06378, Algorithm 1, option II: clients step by g - c_i + c and send their
updates and the changes of their c_i; x <- x + eta_g mean(dy), c <- c + |S| / N mean(dc).
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
"""Before a parameter's name: its control variate."""


@dataclass(frozen=True)
class ControlVariates(LocalRule):
    """Each gradient is corrected by c - c_i: the server's control variate less the client's own."""

    prefix = CONTROL
    sends = True
    needs_plain_sgd = True

    def offset(self, server: Params, client: Params) -> Params:
        """c - c_i."""
        return p.subtract(server, client)

    def finish(self, end: RoundEnd) -> RuleResult:
        """Option II: c_i+ = c_i - c + (x - y) / (K eta), with y after K steps at rate eta.

        Raises:
            StudyError: the optimiser is not plain SGD.
        """
        if end.rate is None:
            raise StudyError("control variates (scaffold) need plain SGD: training.optimizer sgd without momentum")
        carried, sent = {}, {}
        for name, pull in end.offset.items():
            before = end.server[name] - pull
            carried[name] = (end.start[name] - end.params[name]) / (end.steps * end.rate) - pull
            sent[name] = carried[name] - before
        return RuleResult(carried, sent)


def scaffold(work: ClientWork, population: int, server_learning_rate: float = 1.0) -> Program:
    """SCAFFOLD. A message holds twice the numbers: the model's and the control variate's.

    Args:
        work: what each client does; plain SGD.
        population: N, how many clients there are.
        server_learning_rate: eta_g, > 0.

    Raises:
        StudyError: local optimisers with a state of their own.
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
    """The program that a study's section names."""
    return scaffold(context.work, context.population, section.server_learning_rate)
