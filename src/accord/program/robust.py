"""Federated training with a robust mean: a rule of `robust_rules` replaces FedAvg's mean at the server.

w <- w + rule(w_1 - w, ..., w_n - w). Each rule names its paper and equation.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accord.communication.wire import message_bytes
from accord.config.programs.robust import (
    BulyanProgram,
    CentredClippingProgram,
    GeometricMedianProgram,
    KrumProgram,
    MedianProgram,
    MultiKrumProgram,
    PreAggregation,
    RobustSection,
    TrimmedMeanProgram,
)
from accord.core import params as p
from accord.core.errors import DivergedError, Fault, PrivacyError, StudyError
from accord.core.params import Params
from accord.core.streams import Streams
from accord.program import robust_rules as rules
from accord.program.averaging import apply_update
from accord.program.base import SERVER, ClientId, Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local import ClientWork
from accord.program.pre_aggregation import bucketing, nearest_neighbour_mixing

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps updates, weights and the last round's step to this round's step `[numbers]`.

The updates are `[clients, numbers]`, the clients' weights `[clients]`, and the last round's step `[numbers]`. The last
step is zeros before the first round, and for rules that do not use it.
"""

Before = Callable[[Tensor, Tensor, np.random.Generator], tuple[Tensor, Tensor]]
"""Pre-aggregation: maps finite updates, their weights and a stream of the round to updates and weights for the rule."""

LAST = "last/"
"""The prefix of a parameter's name among the server's extra values for what the last round added to it."""


def robust(
    work: ClientWork,
    rule: Rule,
    weigh: Callable[[ClientId], float] = lambda client: 1.0,
    before: Before | None = None,
    remembers: bool = False,
) -> Program:
    """Federated training with a robust mean.

    All of a cohort's updates are in memory at once, clients x numbers in the work's dtype. Buffers that are sent (batch
    norm's statistics) are part of the updates. Units `sample`, `batch` and `local` compose with it, since a rule is
    post-processing of what has been noised.

    Args:
        work: what each client does.
        rule: what replaces the mean.
        weigh: a client's weight, >= 0, for rules that have weights.
        before: transforms the finite updates before the rule sees them. None passes them on unchanged.
        remembers: whether the rule reads what the last round added.

    Returns:
        A program. Its rounds raise DivergedError where no client sends finite numbers, and Fault where too few
        clients are left for the rule. Its one measure is `dropped`, the number of clients that sent NaN or infinity.

    Raises:
        PrivacyError: unit `client`, whose noise belongs on a sum with bounded terms.
    """
    if work.plan is not None and work.plan.mechanism.noises_sum:
        raise PrivacyError(
            "privacy.unit client needs a noised sum; one client may move a robust mean by more than any noise "
            "accounted for, so use program fedavg, or unit sample"
        )

    def round(state: ServerState, cohort: Cohort, engine: Engine, streams: Streams) -> tuple[ServerState, RoundOutcome]:
        sent = {name: state.params[name] for name in work.sent}
        samples: dict[ClientId, int] = {}
        steps: dict[ClientId, int] = {}
        there = len(cohort.clients)
        # One matrix filled row by row, since a list that is stacked afterwards would take twice the memory.
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
        # No rule is defined on zero updates, so an empty cohort leaves the model unchanged.
        if there == 0:
            return state, outcome
        if dropped == there:
            raise DivergedError(
                f"round {cohort.round}: no client sent finite numbers; lower training.learning_rate, start afresh"
            )
        weights = torch.tensor([weigh(client) for client in cohort.clients], dtype=torch.float64)
        last = p.flatten({name: state.extra.get(LAST + name, torch.zeros_like(sent[name])) for name in sent}).cpu()
        try:
            if before is not None:
                # Dropped first: one NaN would spread to every mean that pre-aggregation forms.
                finite = rules.finite_rows(updates)
                updates, weights = before(updates[finite], weights[finite], streams("buckets", cohort.round, SERVER))
            mean = rule(updates, weights, last)
        except ValueError as error:
            raise Fault(f"round {cohort.round}: {error}; raise program.cohort_size and program.min_clients") from error
        # Rules run on the CPU, whatever device trains.
        update = p.unflatten(mean.to(next(iter(sent.values())).device), sent)
        extra = {LAST + name: value for name, value in update.items()} if remembers else state.extra
        return ServerState(apply_update(state.params, update), extra), outcome

    def init(params: Params) -> ServerState:
        return ServerState(params, {LAST + name: torch.zeros_like(params[name]) for name in work.sent if remembers})

    return Program(init, round)


_RULES: dict[type[RobustSection], Callable[[Any], Rule]] = {
    MedianProgram: lambda section: lambda updates, weights, last: rules.median(updates),
    TrimmedMeanProgram: lambda section: lambda updates, weights, last: rules.trimmed_mean(updates, section.trim),
    KrumProgram: lambda section: lambda updates, weights, last: rules.krum(updates, section.malicious),
    MultiKrumProgram: lambda section: (
        lambda updates, weights, last: rules.multi_krum(updates, section.malicious, section.keep)
    ),
    GeometricMedianProgram: lambda section: (
        lambda updates, weights, last: rules.geometric_median(updates, weights, section.smoothing, section.iterations)
    ),
    BulyanProgram: lambda section: lambda updates, weights, last: rules.bulyan(updates, section.malicious),
    CentredClippingProgram: lambda section: (
        lambda updates, weights, last: rules.centred_clipping(updates, section.radius, section.iterations, last)
    ),
}


def make_before(section: PreAggregation | None) -> Before | None:
    """Builds the pre-aggregation a section names, or returns None where it names none."""
    if section is None:
        return None
    if section.rule == "bucketing":
        return lambda updates, weights, rng: bucketing(updates, weights, section.bucket_size, rng)

    def mixed(updates: Tensor, weights: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        # Where clients with NaN or infinity were dropped, f is lowered to what the remaining clients allow.
        malicious = min(section.malicious, (len(updates) - 1) // 2)
        return nearest_neighbour_mixing(updates, malicious), weights

    return mixed


def make_rule(section: RobustSection) -> Rule:
    """Builds the rule a section names."""
    return _RULES[type(section)](section)


def build(section: RobustSection, context: ProgramContext) -> Program:
    """Builds the program from its section of a study.

    Raises:
        StudyError: the population is too small for the rule.
        PrivacyError: unit `client`.
    """
    if context.population < section.fewest():
        raise StudyError(
            f"program {section.name} over a population of {context.population} clients: {section.why()}; "
            "deal the data to more clients (partition.num_partitions), or change that setting"
        )

    def weigh(client: ClientId) -> float:
        by_size = isinstance(section, GeometricMedianProgram) and section.weights == "size"
        return float(context.sizes[client]) if by_size else 1.0

    remembers = isinstance(section, CentredClippingProgram)
    return robust(context.work, make_rule(section), weigh, make_before(section.pre_aggregation), remembers)
