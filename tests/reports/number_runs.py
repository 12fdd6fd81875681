"""Finished runs that predict numbers, made by hand out of those that predict classes."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from accord.config.load import make_study
from accord.records.round_record import RoundRecord, TestScores
from accord.records.sweep_folder import SweepFolder, SweepRow, measures_of
from accord.reports.compare.comparison import FinishedRun
from accord.tasks.kinds import KINDS
from reports.results import over_clients, privacy, result

VARIANCE = 5900.0
"""Of the targets; their deviation is 77."""


def scores(mse: float | None, n: int = 89, mae: float | None = None) -> TestScores:
    """An error's other forms; of one that is not known (the model has diverged), none."""
    if mse is None:
        return TestScores({"rmse": None, "loss": None, "mae": None, "r2": None}, n)
    return TestScores(
        {"rmse": math.sqrt(mse), "loss": mse, "mae": mae or 0.8 * math.sqrt(mse), "r2": 1 - mse / VARIANCE}, n
    )


def group(mse: float, bias: float, n: int = 60) -> dict[str, Any]:
    """A group's errors, with intervals."""
    values = {"mse": mse, "mae": 0.8 * math.sqrt(mse), "bias": bias}
    intervals = {"mse": [0.8 * mse, 1.2 * mse], "mae": [0.7 * mse**0.5, 0.9 * mse**0.5], "bias": [bias - 9, bias + 9]}
    return {"n": n, **values, "intervals": intervals, "too_small": n < 30}


def fairness() -> dict[str, Any]:
    """Columns sex and sex*age, with a group that is too small and one without rows."""
    groups = {
        "sex=Female": group(3200.0, -0.7),
        "sex=Male": group(4100.0, 21.3),
        "sex*age=Female, old": group(2900.0, -2.0),
        "sex*age=Male, old": group(5200.0, 12.0, n=12),
        "sex*age=Male, young": {
            "n": 0,
            **dict.fromkeys(("mse", "mae", "bias")),
            "intervals": dict.fromkeys(("mse", "mae", "bias")),
            "too_small": True,
        },
    }
    gaps = {"mse_gap": 900.0, "mae_gap": 6.0, "bias_gap": 22.0}
    intervals = {"mse_gap": [40.0, 2100.0], "mae_gap": [0.5, 21.0], "bias_gap": [25.0, 47.0]}  # above the gap itself
    column = {**gaps, "intervals": intervals, "worst_group": "Male", "too_small_groups": []}
    crossed = {**column, "worst_group": "Female, old", "too_small_groups": ["Male, old", "Male, young"]}
    return {
        "measure": "mse",
        "groups": groups,
        "columns": {"sex": column, "sex*age": crossed},
        **gaps,
        "headline_column": "sex",
        "worst_group": "sex=Male",
        "worst_group_mse": 4100.0,
        "confidence": 0.95,
        "positive": None,
        "confusion": None,
    }


def spread(mean: float) -> dict[str, Any]:
    least, most = 0.6 * mean, 1.5 * mean
    return {"measure": "mse", "mean": mean, "std": 0.3 * mean, "min": least, "max": most, "worst_decile": most}


def number_run(example: dict[str, Any]) -> dict[str, Any]:
    """A run that predicts a number in place of this one."""
    made: list[RoundRecord] = []
    for record in example["rounds"]:
        mse = 3000.0 + 9000.0 * math.exp(-record.round / 3)
        held = record.validation and scores(mse + 50, 40)
        made.append(replace(record, test=scores(mse), validation=held, groups={"sex": {"Female": mse, "Male": mse}}))
    result = example["result"]
    last = made[-1].test or scores(None)
    data = {"name": "diabetes", "about": "442 patients.", "train_rows": 353, "test_rows": 89, "classes": 0}
    result |= {
        "task": "regression",
        "test": last.as_json(),
        "calibration": None,
        "fairness": fairness() if result["fairness"] else None,
        "clients": result["clients"] | spread(3600.0),
        "twin": {"test": scores(2900.0).as_json()} if result["twin"] else None,
        "released": [{"what": "test errors", "how": "exact, on test rows nobody trained on"}],
        "data": data,
    }
    if result.get("fine_tune"):
        result["fine_tune"] |= {"before": spread(3600.0), "after": spread(3100.0)}
        result["personal"] = {"clients": 9, "improved": 7, "worsened": 2, "too_small": 1}
        result["personal"] |= {"shared": spread(3600.0), "own": spread(3300.0)}
    partition = example["partition"] | {"class_names": []}
    partition["clients"] = [client | {"labels": []} for client in partition["clients"]]
    scaled = {"name": "diabetes", "target_range": [0, 400]} if result["privacy"] else "diabetes"
    model = {"name": "linear"} if result["privacy"] else {"name": "mlp", "hidden": []}
    sections = example["study"].model_dump(mode="json") | {
        "data": scaled,
        "model": model,
        "partition": {"name": "iid", "num_partitions": len(partition["clients"])},
    }
    return example | {"rounds": made, "partition": partition, "study": make_study(sections)}


def ran(mse: float, seed: int, epsilon: float | None = None, judged: dict[str, Any] | None = None) -> FinishedRun:
    """A run that ended with these figures, for comparisons."""
    private = {"unit": "sample", "epsilon": math.ceil(epsilon), "delta": 1e-3} if epsilon else None
    study = make_study({"data": "diabetes", "model": "linear", "seed": seed, "privacy": private})
    value = result(
        study="diabetes",
        task="regression",
        rounds=2,
        planned_rounds=2,
        test=scores(mse).as_json(),
        privacy=None if epsilon is None else privacy(epsilon),
        fairness=judged,
        clients=over_clients(None) | spread(1.1 * mse),
        seconds=2.0 + seed,
        data={"name": "diabetes", "about": "442 patients.", "train_rows": 353, "test_rows": 89, "classes": 0},
    )
    rounds = tuple(
        RoundRecord(number, (0,), (0,), (), 10, 1, scores(each), None, None, 10, 20, 2)
        for number, each in enumerate((2 * mse, mse), start=1)
    )
    return FinishedRun(Path(f"runs/{epsilon}-{seed}"), study, value, rounds)


def sweep(errors: Mapping[float, tuple[float, ...]], *, private: bool = False, groups: bool = False) -> SweepFolder:
    """A sweep over a learning rate, or over ε: by its values the mean squared errors of the seeds."""
    path = "privacy.epsilon" if private else "training.learning_rate"
    rows = []
    for point, (setting, each) in enumerate(errors.items(), 1):
        for seed, mse in enumerate(each):
            test = scores(mse)
            found: dict[str, float | None] = {"mse": mse, **{name: test[name] for name in ("rmse", "mae", "r2")}}
            found |= {"epsilon": setting if private else None, "uplink_bytes": 2**20, "seconds": 1.5}
            found |= {"mse_gap": 0.1 * mse, "worst_group_mse": 1.1 * mse, "bias_gap": 2.0} if groups else {}
            told = {name: found.get(name) for name in measures_of(KINDS["regression"])}
            row = SweepRow(f"run-{point}-{seed}", point, {path: setting}, seed, "done", told, task="regression")
            rows.append(row)
    seeds = tuple(range(max(map(len, errors.values()))))
    return SweepFolder(Path("sweeps/made"), "made", ((path,),), seeds, tuple(rows), ())
