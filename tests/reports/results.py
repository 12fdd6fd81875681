"""Results made by hand: complete, with what a test is about replaced."""

from typing import Any

from accord.records.run_result import RunResult


def result_json(**changes: Any) -> dict[str, Any]:
    """`result.json` of a small classification without privacy; `changes` replace its keys."""
    return {
        "accord": "0.2.0",
        "run": "runs/made",
        "study": "digits",
        "status": "done",
        "reason": None,
        "message": None,
        "rounds": 3,
        "planned_rounds": 3,
        "test": {"accuracy": 0.75, "loss": 0.5, "n": 100},
        "privacy": None,
        "fairness": None,
        "clients": None,
        "twin": None,
        "communication": {"uplink_bytes": 2048, "downlink_bytes": 4096, "messages": 6},
        "faults": {"dropped": 0, "timed_out": 0, "recovered": 0},
        "seconds": 2.0,
        "seconds_by_stage": {"train": 2.0},
        "samples_per_second": 100.0,
        "peak_rss_mb": 400.0,
        "released": [],
        "data": {"name": "digits", "about": "Digits.", "train_rows": 400, "test_rows": 100, "classes": 10},
        "versions": {"accord": "0.2.0"},
        **changes,
    }


def result(**changes: Any) -> RunResult:
    """The same as a value."""
    return RunResult.from_json(result_json(**changes))


def over_clients(worst: float | None, population: int = 4) -> dict[str, Any]:
    """`clients` of a result, all of whose figures are `worst`."""
    figures = dict.fromkeys(("mean", "std", "min", "max", "worst_decile"), worst)
    return {"population": population, "evaluated": population, **figures, "too_small": 0}


def privacy(epsilon: float, **changes: Any) -> dict[str, Any]:
    """`privacy` of a result of unit `sample`."""
    return {
        "unit": "sample",
        "epsilon": epsilon,
        "delta": 1e-5,
        "accountant": "rdp",
        "noise_multiplier": 1.1,
        "clip_norm": 1.0,
        "sensitivity": 1.0,
        "neighbouring_relation": "add_remove",
        "sampling": "poisson",
        "budget": None,
        "per_client": {"min": epsilon, "median": epsilon, "max": epsilon},
        "noise_source": "simulated",
        **changes,
    }


def column(**changes: Any) -> dict[str, Any]:
    """A column of groups without gaps."""
    return {"worst_group": None, "intervals": {}, "too_small_groups": [], **changes}


GROUP = {"n": 9, "accuracy": 0.5, "intervals": {"accuracy": [0.1, 0.2], "tpr": None}, "too_small": True}


def fairness_json() -> dict[str, Any]:
    columns = {"a": column(), "a=b": column(accuracy_gap=0.25)}
    groups = {"a=x": GROUP, "a=b=c": GROUP, "a=b=empty": {**GROUP, "n": 0}}
    return {
        "groups": groups,
        "columns": columns,
        "accuracy_gap": 0.25,
        "headline_column": "a",
        "worst_group": None,
        "confidence": 0.95,
    }
