"""Federated training with a robust mean: the server takes a rule of `robust_rules` where FedAvg takes the mean.

w <- w + rule(w_1 - w, ..., w_n - w). Each rule names its paper and equation.
"""

from collections.abc import Callable
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.communication.wire import message_bytes
from accord.config.robust import (
    GeometricMedianProgram,
    KrumProgram,
    MedianProgram,
    MultiKrumProgram,
    RobustProgram,
    TrimmedMeanProgram,
)
from accord.core import params as p
from accord.core.errors import DivergedError, Fault, PrivacyError, StudyError
from accord.core.streams import Streams
from accord.program import robust_rules as rules
from accord.program.averaging import apply_update
from accord.program.base import ClientId, Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.local import ClientWork

Rule = Callable[[Tensor, Tensor], Tensor]
"""Updates `[clients, numbers]` and the clients' weights `[clients]` to what is added to the model, `[numbers]`."""


def robust(work: ClientWork, rule: Rule, weigh: Callable[[ClientId], float] = lambda client: 1.0) -> Program:
    """Federated training with a robust mean.

    All of a cohort's updates are held at once, clients x numbers in the work's dtype. Buffers that are sent (batch
    norm's statistics) are part of the updates. Units `sample`, `batch` and `local` compose with it: a rule is
    post-processing of what has been noised.

    Args:
        work: what each client does.
        rule: what stands in for the mean.
        weigh: a client's weight, >= 0, for rules that have weights.

    Returns:
        A program. Its rounds raise DivergedError where no client sends finite numbers, and Fault where too few
        clients are left for the rule. Its one measure is `dropped`: clients that sent NaN or infinity.

    Raises:
        PrivacyError: unit `client`, whose noise belongs on a sum with bounded terms.
    """
    if work.plan is not None and work.plan.unit == "client":
        raise PrivacyError(
            "privacy.unit client needs a noised sum; one client may move a robust mean by more than any noise "
            "accounted for, so use program fedavg, or unit sample"
        )

    def round(state: ServerState, cohort: Cohort, engine: Engine, streams: Streams) -> tuple[ServerState, RoundOutcome]:
        sent = {name: state.params[name] for name in work.sent}
        samples: dict[ClientId, int] = {}
        steps: dict[ClientId, int] = {}
        there = len(cohort.clients)
        updates = torch.empty(there, p.count(sent), dtype=work.dtype)
        for row, result in zip(
            updates, engine.run_cohort(work, cohort.clients, state.params, cohort.round), strict=True
        ):
            row.copy_(p.flatten({name: result.update[name] for name in sent}))
            samples[result.client], steps[result.client] = result.samples, result.steps
        size = message_bytes(sent)
        dropped = there - int(rules.finite_rows(updates).sum())
        measures = {"dropped": float(dropped)}
        outcome = RoundOutcome(samples, steps, there * size, there * size, 2 * there, measures=measures)
        if there == 0:
            return state, outcome
        if dropped == there:
            raise DivergedError(
                f"round {cohort.round}: no client sent finite numbers; lower training.learning_rate, start afresh"
            )
        weights = torch.tensor([weigh(client) for client in cohort.clients], dtype=torch.float64)
        try:
            mean = rule(updates, weights)
        except ValueError as error:
            raise Fault(f"round {cohort.round}: {error}; raise program.cohort_size and program.min_clients") from error
        update = p.unflatten(mean.to(next(iter(sent.values())).device), sent)
        return ServerState(apply_update(state.params, update), state.extra), outcome

    return Program(ServerState, round)


def make_rule(section: RobustProgram) -> Rule:
    """The rule a section names."""
    match section:
        case MedianProgram():
            return lambda updates, weights: rules.median(updates)
        case TrimmedMeanProgram(trim=trim):
            return lambda updates, weights: rules.trimmed_mean(updates, trim)
        case KrumProgram(malicious=malicious):
            return lambda updates, weights: rules.krum(updates, malicious)
        case MultiKrumProgram(malicious=malicious, keep=keep):
            return lambda updates, weights: rules.multi_krum(updates, malicious, keep)
        case GeometricMedianProgram(smoothing=smoothing, iterations=iterations):
            return lambda updates, weights: rules.geometric_median(updates, weights, smoothing, iterations)
        case _:
            assert_never(section)


def make_robust(section: RobustProgram, work: ClientWork, sizes: NDArray[np.int64]) -> Program:
    """The program a section names, over clients with `sizes` training rows.

    Raises:
        StudyError: the population is too small for the rule.
        PrivacyError: unit `client`.
    """
    if len(sizes) < section.fewest():
        raise StudyError(
            f"program {section.name} over a population of {len(sizes)} clients: {section.why()}; "
            "deal the data to more clients (partition.num_partitions), or change that setting"
        )

    def weigh(client: ClientId) -> float:
        by_size = isinstance(section, GeometricMedianProgram) and section.weights == "size"
        return float(sizes[client]) if by_size else 1.0

    return robust(work, make_rule(section), weigh)
