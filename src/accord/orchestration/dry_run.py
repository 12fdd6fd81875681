"""Describes what a run would do: its mechanism, its budget, and time and memory measured on a few rounds.

The rounds of the probe are trained and discarded. Nothing of them is written, released or charged.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from accord.core.params import count
from accord.engines.registry import reproducible_arithmetic
from accord.orchestration.prepared import Prepared
from accord.orchestration.scoring import score_model
from accord.program.base import Cohort, ServerState
from accord.program.cohorts import draw_cohort, due_steps, participations
from accord.records.result import peak_rss_mb

_FEWEST = 3
"""The number of rounds after the first that a time estimate needs. The first round may compile kernels."""
_SECONDS = 20.0
"""The probe ends with the first round that is finished after this many seconds."""


@dataclass(frozen=True)
class Probe:
    """Measurements of a few rounds.

    Attributes:
        rounds: how many rounds were trained.
        seconds: the estimated time of the whole run, or None where too few rounds were measured.
        first: seconds of the first round, which may compile kernels.
        each: the median seconds of the other rounds, or None where there are none.
        evaluation: seconds of one evaluation.
        peak_mb: the process's peak memory so far, in MB (2^20 bytes).
    """

    rounds: int
    seconds: float | None
    first: float
    each: float | None
    evaluation: float
    peak_mb: float


def describe(prepared: Prepared, probe: Probe | None, twin: Probe | None = None) -> dict[str, Any]:
    """Describes what would run, as one JSON object.

    Args:
        prepared: the prepared study.
        probe: its measurements, or None where none were made.
        twin: those of its twin without privacy, or None where it has none, see `make_twin_ready`.
    """
    study, sizes = prepared.study, prepared.federated.train.sizes()
    data = prepared.federated.data
    return {
        "study": prepared.name,
        "data": {"name": data.name, "train_rows": len(data.train), "test_rows": len(data.test)},
        "clients": prepared.population,
        "rows_per_client": {"min": int(sizes.min()), "median": float(np.median(sizes)), "max": int(sizes.max())},
        "cohort": study.program.cohort_size or prepared.population,
        "rounds": study.program.rounds,
        "program": study.program.name,
        "engine": study.engine.name,
        "device": prepared.device.type,
        "model": study.model.name,
        "parameters": count(prepared.initial),
        "privacy": planned_privacy(prepared),
        "probe": None if probe is None else vars(probe),
        "twin": None if twin is None else vars(twin),
    }


def planned_privacy(prepared: Prepared) -> dict[str, Any] | None:
    """Returns the mechanism and the worst client's planned epsilon, or None without privacy.

    The epsilon is that after the last round if no client were refused. Which clients are sampled in which round is
    known before the run, since the draws come from the study's streams.
    """
    ledger = prepared.ledger
    if ledger is None:
        return None
    plan, study = ledger.plan, prepared.study
    sizes = prepared.federated.train.sizes()
    # Under unit `client` all clients share one account, charged once a round whoever takes part.
    if plan.mechanism.shared:
        steps = np.array([study.program.rounds], dtype=np.int64)
    else:
        times = participations(study, prepared.population, prepared.streams)
        a_round = due_steps(prepared.work, sizes, range(prepared.population))
        costs = [plan.charge(a_round[client]) for client in range(prepared.population)]
        steps = times * np.array(costs, dtype=np.int64)
    epsilon = float(replace(ledger, steps=ledger.steps + steps).epsilons().max())
    return {
        "unit": plan.unit,
        "noise_multiplier": plan.noise_multiplier,
        "clip_norm": plan.clip_norm,
        "delta": plan.delta,
        "accountant": plan.accountant,
        "budget": plan.budget,
        "epsilon_planned": epsilon,
    }


def probe(prepared: Prepared, seconds: float = _SECONDS) -> Probe:
    """Trains the first rounds and discards them.

    Args:
        prepared: the prepared study. Its engine's client state is restored afterwards.
        seconds: no further round starts after this many seconds.

    Raises:
        Fault: a client failed.
    """
    carried, server = dict(prepared.engine.carried), prepared.program.init(prepared.initial)
    planned = prepared.study.program.rounds
    times: list[float] = []
    began = time.perf_counter()
    with reproducible_arithmetic(prepared.device, prepared.ledger is not None):
        for number in range(1, min(planned, _FEWEST + 1) + 1):
            server, took = _round(prepared, server, number)
            times.append(took)
            if time.perf_counter() - began > seconds:
                break
        start = time.perf_counter()
        score_model(prepared, server.params, len(times))
        evaluation = time.perf_counter() - start
    # A run after the probe must start from the clients' state before it.
    prepared.engine.carried = carried
    # The last round is always evaluated, so a partial interval counts. One more is the evaluation at the end.
    evaluations = -(-planned // prepared.study.evaluation.every) + 1
    each = float(np.median(times[1:])) if len(times) > 1 else None
    if len(times) == planned:
        total: float | None = sum(times) + evaluations * evaluation
    # The first round is counted as measured: it alone may hold compilation.
    elif len(times) > _FEWEST and each is not None:
        total = times[0] + (planned - 1) * each + evaluations * evaluation
    else:
        total = None
    return Probe(len(times), total, times[0], each, evaluation, peak_rss_mb())


def _round(prepared: Prepared, server: ServerState, number: int) -> tuple[ServerState, float]:
    cohort = draw_cohort(prepared.study, prepared.population, number, prepared.streams)
    admitted = tuple(due_steps(prepared.work, prepared.federated.train.sizes(), cohort))
    start = time.perf_counter()
    after, _ = prepared.program.round(server, Cohort(number, admitted), prepared.engine, prepared.streams)
    return after, time.perf_counter() - start
