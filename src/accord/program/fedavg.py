"""Federated averaging, plain and under client-level privacy.

H. B. McMahan, E. Moore, D. Ramage, S. Hampson, B. Aguera y Arcas. Communication-Efficient Learning of Deep
Networks from Decentralized Data. AISTATS 2017, arXiv 1602.05629, Algorithm 1:
w <- w + sum_k (n_k / n) (w_k - w).

H. B. McMahan, D. Ramage, K. Talwar, L. Zhang. Learning Differentially Private Recurrent Language Models. ICLR
2018, arXiv 1710.06963, Algorithm 1: w <- w + (sum_k w_k clip(w_k' - w) + N(0, (z C)^2)) / m, with weights in
[0, 1] and m the expected cohort, so that nothing but the noised sum depends on who was there.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from accord import params as p
from accord.communication.wire import message_bytes
from accord.errors import PrivacyError
from accord.params import Params
from accord.privacy import noise
from accord.program.base import (
    SERVER,
    ClientId,
    Cohort,
    CohortSum,
    Engine,
    Program,
    RoundOutcome,
    ServerState,
)
from accord.program.local import ClientWork
from accord.streams import SERVER_NOISE, Streams


def fedavg(work: ClientWork, weigh: Callable[[ClientId], float], population: int) -> Program:
    """Federated averaging.

    Args:
        work: what each client does; its plan says whether updates are clipped and their sum noised.
        weigh: a client's weight, >= 0; in [0, 1] under unit `client`.
        population: how many clients there are; the private mean's divisor is reckoned from it.
    """
    private = work.plan is not None and work.plan.unit == "client"

    def round(state: ServerState, cohort: Cohort, engine: Engine, streams: Streams) -> tuple[ServerState, RoundOutcome]:
        weights = [weigh(client) for client in cohort.clients]
        if private and any(not 0 <= weight <= 1 for weight in weights):
            raise PrivacyError("a client's weight lies outside [0, 1]; privacy.unit client has no bound for it")
        summed = engine.sum_cohort(work, cohort.clients, state.params, cohort.round, weights)
        if private:
            mean = _private_mean(work, summed, population, cohort.round, streams)
        elif sum(weights) > 0:
            mean = p.multiply(summed.total, 1 / sum(weights))
        else:
            mean = summed.total
        size = message_bytes(summed.total)
        there = len(cohort.clients)
        outcome = RoundOutcome(summed.samples, summed.steps, there * size, there * size, 2 * there, summed.padding)
        return ServerState(apply_update(state.params, mean)), outcome

    return Program(ServerState, round)


def apply_update(params: Params, update: Mapping[str, Tensor]) -> Params:
    """`params + update`; names the update does not carry (frozen parameters) stay as they are."""
    return {name: value + update[name] if name in update else value for name, value in params.items()}


def _private_mean(work: ClientWork, summed: CohortSum, population: int, round: int, streams: Streams) -> Params:
    plan = work.plan
    if plan is None or plan.unit != "client":
        raise PrivacyError("the private mean needs a plan of unit client")
    drawn = noise.gaussian(streams(SERVER_NOISE, round, SERVER), summed.total, plan.noise_std)
    return p.multiply(p.add(summed.total, drawn), 1 / plan.divisor(population))
