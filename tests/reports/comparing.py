"""Finished runs made by hand, for comparisons."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord.config.load import make_study
from accord.records.round_record import RoundRecord, TestScores
from accord.records.run_result import RunResult
from accord.reports.compare.comparison import Comparison, FinishedRun, compared
from reports.results import column, over_clients, privacy, result_json


def record(number: int, accuracy: float | None) -> RoundRecord:
    return RoundRecord(
        round=number,
        cohort=(0,),
        clients=(0,),
        refused=(),
        samples=10,
        steps=1,
        test=None if accuracy is None else TestScores({"accuracy": accuracy, "loss": 1 - accuracy}, 100),
        groups=None,
        epsilon=None,
        uplink_bytes=10,
        downlink_bytes=20,
        messages=2,
    )


def group(accuracy: float | None, n: int = 50) -> dict[str, Any]:
    return {"n": n, "accuracy": accuracy, "intervals": {}, "too_small": n < 30}


def fairness(groups: dict[str, dict[str, Any]], gap: float) -> dict[str, Any]:
    columns = dict.fromkeys(name.partition("=")[0] for name in groups)
    worst = min((each["accuracy"], name) for name, each in groups.items() if each["accuracy"] is not None)
    return {
        "groups": groups,
        "columns": {each: column() for each in columns},
        "headline_column": next(iter(columns)),
        "confidence": 0.95,
        "worst_group": worst[1],
        "worst_group_accuracy": worst[0],
        "accuracy_gap": gap,
        "demographic_parity_difference": None,
        "equalized_odds_difference": None,
    }


def ran(
    accuracy: float | None = 0.9,
    seed: int = 0,
    epsilon: float | None = None,
    judged: dict[str, Any] | None = None,
    folder: str = "",
    curve: Sequence[float | None] | None = None,
    data: dict[str, Any] | None = None,
    result: dict[str, Any] | None = None,
    **sections: Any,
) -> FinishedRun:
    """A run that ended with these figures; `data` and `result` replace keys of the result."""
    if epsilon is not None:
        sections.setdefault("privacy", {"unit": "sample", "epsilon": math.ceil(epsilon), "delta": 1e-5})
    study = make_study({"data": "digits", "seed": seed, **sections})
    found = {
        "test": {"accuracy": accuracy, "loss": None if accuracy is None else 1 - accuracy, "n": 100},
        "privacy": None if epsilon is None else privacy(epsilon),
        "fairness": judged,
        "clients": over_clients(0.5),
        "seconds": 2.0 + seed,
    }
    values = result_json(**found | (result or {}))
    values["data"] |= data or {}
    scores = [0.3, 0.6, accuracy] if curve is None else curve
    rounds = tuple(record(number, each) for number, each in enumerate(scores, start=1))
    return FinishedRun(Path(folder or f"runs/s{seed}"), study, RunResult.from_json(values), rounds)


def three_sides() -> Comparison:
    """ε 8, ε 2 and none, three seeds each, with two groups of which one is too small."""
    runs = []
    for epsilon, base in ((8.0, 0.80), (2.0, 0.70), (None, 0.90)):
        for seed in (1, 2, 3):
            accuracy = base + 0.01 * seed
            groups = {"sex=Female": group(accuracy - 0.05), "sex=Male": group(accuracy, n=20)}
            runs.append(
                ran(
                    accuracy,
                    seed,
                    epsilon,
                    fairness(groups, 0.05),
                    f"runs/{epsilon}-{seed}",
                    fairness={"groups": ["sex"]},
                )
            )
    return compared(runs)
