"""What a run would do, without doing it: its mechanism, its budget, and time and memory measured on a few rounds.

The rounds of the probe are trained and thrown away: nothing of them is written, released or charged.
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
"""Rounds after the first that a time is estimated from; the first may compile kernels."""
_SECONDS = 20.0
"""The probe ends at the first round after so long."""


@dataclass(frozen=True)
class Probe:
    """What a few rounds took.

    Attributes:
        rounds: how many were trained.
        seconds: of the whole run to come; None where too few rounds were measured to say.
        first: seconds of the first round, which may compile kernels.
        each: seconds of one of the others, their median; None where there is none.
        evaluation: seconds of one evaluation.
        peak_mb: the process's largest memory until then, in MB (2^20 bytes).
    """

    rounds: int
    seconds: float | None
    first: float
    each: float | None
    evaluation: float
    peak_mb: float


def describe(prepared: Prepared, probe: Probe | None) -> dict[str, Any]:
    """What would run, as one JSON object.

    Args:
        prepared: the study made ready.
        probe: of it; None where none was made.
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
        "device": next(iter(prepared.initial.values())).device.type,
        "model": study.model.name,
        "parameters": count(prepared.initial),
        "privacy": planned_privacy(prepared),
        "probe": None if probe is None else vars(probe),
    }


def planned_privacy(prepared: Prepared) -> dict[str, Any] | None:
    """The mechanism, and epsilon of the worst client after the last round, were nobody refused; None without privacy.

    Which clients are sampled in which round is known before: the draws come from the study's streams.
    """
    ledger = prepared.ledger
    if ledger is None:
        return None
    plan, study = ledger.plan, prepared.study
    sizes = prepared.federated.train.sizes()
    if plan.unit == "client":
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
    """Trains the first rounds and throws them away.

    Args:
        prepared: the study made ready; its engine's client state is put back.
        seconds: after so long no further round is begun.

    Raises:
        Fault: a client failed.
    """
    carried, server = dict(prepared.engine.carried), prepared.program.init(prepared.initial)
    planned = prepared.study.program.rounds
    times: list[float] = []
    began = time.perf_counter()
    with reproducible_arithmetic():
        for number in range(1, min(planned, _FEWEST + 1) + 1):
            server, took = _round(prepared, server, number)
            times.append(took)
            if time.perf_counter() - began > seconds:
                break
        start = time.perf_counter()
        score_model(prepared, server.params)
        evaluation = time.perf_counter() - start
    prepared.engine.carried = carried
    evaluations = -(-planned // prepared.study.evaluation.every) + 1
    each = float(np.median(times[1:])) if len(times) > 1 else None
    if len(times) == planned:
        whole: float | None = sum(times) + evaluations * evaluation
    elif len(times) > _FEWEST and each is not None:
        whole = times[0] + (planned - 1) * each + evaluations * evaluation
    else:
        whole = None
    return Probe(len(times), whole, times[0], each, evaluation, peak_rss_mb())


def _round(prepared: Prepared, server: ServerState, number: int) -> tuple[ServerState, float]:
    cohort = draw_cohort(prepared.study, prepared.population, number, prepared.streams)
    admitted = tuple(due_steps(prepared.work, prepared.federated.train.sizes(), cohort))
    start = time.perf_counter()
    after, _ = prepared.program.round(server, Cohort(number, admitted), prepared.engine, prepared.streams)
    return after, time.perf_counter() - start
