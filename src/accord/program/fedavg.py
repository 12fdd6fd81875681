"""Federated averaging, plain and under client-level privacy.

H. B. McMahan, E. Moore, D. Ramage, S. Hampson, B. Aguera y Arcas. Communication-Efficient Learning of Deep
Networks from Decentralized Data. AISTATS 2017, arXiv 1602.05629, Algorithm 1:
w <- w + sum_k (n_k / n) (w_k - w). FedSGD is the same with one step on all of a client's rows.
"""

from collections.abc import Callable

from accord.config.programs.base import AveragingSection
from accord.core.streams import Streams
from accord.program.averaging import Averaging, apply_update
from accord.program.base import ClientId, Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local import ClientWork


def fedavg(work: ClientWork, weigh: Callable[[ClientId], float], population: int) -> Program:
    """Federated averaging.

    Args:
        work: what each client does. Its plan says whether updates are clipped and their sum noised.
        weigh: a client's weight, >= 0, and in [0, 1] under unit `client`.
        population: the number of clients, from which the private mean's divisor is computed.
    """
    averaging = Averaging(work, weigh, population)

    def round(state: ServerState, cohort: Cohort, engine: Engine, streams: Streams) -> tuple[ServerState, RoundOutcome]:
        mean, extra, outcome = averaging.round(state, state.params, cohort, engine, streams)
        return ServerState(apply_update(state.params, mean), extra), outcome

    return Program(averaging.start, round)


def build(section: AveragingSection, context: ProgramContext) -> Program:
    """Builds the program from its section of a study, which is that of FedAvg or FedSGD."""
    return fedavg(context.work, context.weigh(section), context.population)
