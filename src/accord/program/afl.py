"""Agnostic federated learning: the model for the worst mixture of the clients' data.

M. Mohri, G. Sivek, A. T. Suresh. Agnostic Federated Learning. ICML 2019, arXiv 1902.00146, Algorithm 1. The objective
is min_w max_lambda sum_k lambda_k F_k(w). Each round steps w on the mixture's loss, by federated averaging weighted by
lambda. It then steps lambda by projected gradient ascent, lambda <- P(lambda + gamma F(w)), where P projects onto the
simplex.
"""

from dataclasses import replace

import torch
from torch import Tensor

from accord.config.programs.afl import AflProgram
from accord.core.checks import positive
from accord.core.params import Params
from accord.core.streams import Streams
from accord.program.averaging import apply_update, outcome_of
from accord.program.base import Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local import ClientWork

MIXTURE = "mixture"
LOSS_BYTES = 4
"""Bytes of a client's loss, which is sent with its update."""


def to_simplex(point: Tensor) -> Tensor:
    """Projects a point `[n]` onto the probability simplex (Wang & Carreira-Perpinan 2013, arXiv 1309.1541).

    >>> to_simplex(torch.tensor([0.5, 0.5, 3.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    ordered, _ = point.sort(descending=True)
    over = (ordered.cumsum(0) - 1) / torch.arange(1, len(point) + 1, dtype=point.dtype)
    last = int((ordered > over).nonzero().max())
    return (point - over[last]).clamp(min=0)


def afl(work: ClientWork, population: int, mixture_learning_rate: float) -> Program:
    """Agnostic federated learning, in which each client is a domain.

    Args:
        work: what each client does.
        population: the number of clients.
        mixture_learning_rate: gamma, > 0.
    """
    positive(mixture_learning_rate=mixture_learning_rate)

    def init(params: Params) -> ServerState:
        return ServerState(params, {MIXTURE: torch.full((population,), 1 / population, dtype=torch.float64)})

    def round(state: ServerState, cohort: Cohort, engine: Engine, streams: Streams) -> tuple[ServerState, RoundOutcome]:
        clients, mixture = list(cohort.clients), state.extra[MIXTURE]
        losses = engine.client_losses(work, clients, state.params)
        mine = mixture[clients]
        # A cohort whose weights are all zero is weighted evenly, since it would otherwise have no influence.
        weights = (mine / mine.sum() if float(mine.sum()) > 0 else torch.ones_like(mine) / len(mine)).tolist()
        summed = engine.sum_cohort(work, clients, state.params, cohort.round, weights)
        raised = mixture.clone()
        raised[clients] += mixture_learning_rate * torch.tensor(losses, dtype=torch.float64)
        after = to_simplex(raised)
        measures = {"worst_loss": max(losses, default=0.0), "largest_weight": float(after.max())}
        outcome = outcome_of(summed, len(clients), measures)
        outcome = replace(outcome, uplink_bytes=outcome.uplink_bytes + LOSS_BYTES * len(clients))
        return ServerState(apply_update(state.params, summed.total), {MIXTURE: after}), outcome

    return Program(init, round)


def build(section: AflProgram, context: ProgramContext) -> Program:
    """Builds the program from its section of a study."""
    return afl(context.work, context.population, section.mixture_learning_rate)
