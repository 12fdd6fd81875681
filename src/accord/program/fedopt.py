"""Server optimisers, which use the negated mean update as a gradient.

S. Reddi, Z. Charles, M. Zaheer, Z. Garrett, K. Rush, J. Konecny, S. Kumar, H. B. McMahan. Adaptive Federated
Optimization. ICLR 2021, arXiv 2003.00295, Algorithm 2, with D the mean update:

    m <- beta1 m + (1 - beta1) D
    v <- v + D^2                              (FedAdagrad)
    v <- v - (1 - beta2) D^2 sign(v - D^2)    (FedYogi)
    v <- beta2 v + (1 - beta2) D^2            (FedAdam)
    x <- x + eta m / (sqrt(v) + tau)

As in the paper, v starts at tau^2 and there is no bias correction. `sgd` is FedAvgM (Hsu, Qi & Brown 2019, arXiv
1909.06335): m <- beta m + D, x <- x + eta m.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from accord.config.programs.fedopt import FedOptProgram
from accord.core.checks import non_negative, positive
from accord.core.params import Params
from accord.core.streams import Streams
from accord.program.averaging import Averaging, apply_update
from accord.program.base import ClientId, Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local import ClientWork

ServerOptimizer = Literal["adam", "yogi", "adagrad", "sgd"]


def fedopt(
    work: ClientWork,
    weigh: Callable[[ClientId], float],
    population: int,
    server_optimizer: ServerOptimizer,
    server_learning_rate: float,
    server_momentum: float = 0.9,
    beta2: float = 0.99,
    tau: float = 1e-3,
) -> Program:
    """FedAdam, FedYogi, FedAdagrad or FedAvgM. Buffers (batch statistics) are averaged, not optimised.

    Args:
        work: what each client does.
        weigh: as in `fedavg`.
        population: as in `fedavg`.
        server_optimizer: which of them.
        server_learning_rate: eta, > 0.
        server_momentum: beta1, or beta of `sgd`, in [0, 1).
        beta2: decay of the second moment, in [0, 1).
        tau: adaptivity, > 0.
    """
    positive(server_learning_rate=server_learning_rate, tau=tau)
    non_negative(server_momentum=server_momentum, beta2=beta2)
    averaging = Averaging(work, weigh, population)
    plain = server_optimizer == "sgd"

    def init(params: Params) -> ServerState:
        extra = {f"first/{name}": torch.zeros_like(params[name]) for name in work.task.trainable}
        if not plain:
            # Not zeros: the paper's v_0 is at least tau^2, which bounds the first steps.
            extra |= {f"second/{name}": torch.full_like(params[name], tau**2) for name in work.task.trainable}
        return averaging.start(params, extra)

    def round(state: ServerState, cohort: Cohort, engine: Engine, streams: Streams) -> tuple[ServerState, RoundOutcome]:
        mean, extra, outcome = averaging.round(state, state.params, cohort, engine, streams)
        # Copies: what is not trainable (buffers) keeps its mean, and the state before the round must not change.
        step, extra = dict(mean), dict(extra)
        for name in work.task.trainable:
            d, m = mean[name], extra[f"first/{name}"]
            m = server_momentum * m + (d if plain else (1 - server_momentum) * d)
            extra[f"first/{name}"] = m
            if plain:
                step[name] = server_learning_rate * m
                continue
            v = _second(server_optimizer, extra[f"second/{name}"], d.square(), beta2)
            extra[f"second/{name}"] = v
            step[name] = server_learning_rate * m / (v.sqrt() + tau)
        return ServerState(apply_update(state.params, step), extra), outcome

    return Program(init, round)


def _second(server_optimizer: ServerOptimizer, v: Tensor, square: Tensor, beta2: float) -> Tensor:
    if server_optimizer == "adagrad":
        return v + square
    if server_optimizer == "yogi":
        # The change depends on D^2 alone. Unlike Adam's, a large v falls slowly where D is small.
        return v - (1 - beta2) * square * torch.sign(v - square)
    return beta2 * v + (1 - beta2) * square


def build(section: FedOptProgram, context: ProgramContext) -> Program:
    """Builds the program from its section of a study."""
    return fedopt(
        context.work,
        context.weigh(section),
        context.population,
        section.server_optimizer,
        section.server_learning_rate,
        section.server_momentum,
        section.beta2,
        section.tau,
    )
