"""Runs made by hand, of every kind that a report has to show: the arguments of `page.render`, the result as JSON."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from accord.config.evaluation import Evaluation
from accord.config.schema import Study
from accord.core.streams import stream
from accord.records.result_parts import ClientsResult, FairnessResult
from accord.records.round_record import EpsilonSpread, RoundRecord, TestScores
from accord.records.run_result import RunResult
from accord.reports.run.page import render
from reports.number_runs import number_run

Example = dict[str, Any]


def result_of(example: Example) -> RunResult:
    """The result of an example as it is now."""
    return RunResult.from_json(example["result"])


def rendered(example: Example) -> str:
    """Its report."""
    return render(**example | {"result": result_of(example)})


def clients_of(example: Example) -> ClientsResult:
    """Its scores over clients."""
    clients = result_of(example).clients
    assert clients is not None
    return clients


def fairness_of(example: Example) -> FairnessResult:
    """Its groups."""
    fairness = result_of(example).fairness
    assert fairness is not None
    return fairness


def _rates(
    n: int, accuracy: float | None, selection: float | None, tpr: float | None, fpr: float | None
) -> dict[str, Any]:
    def interval(value: float | None) -> list[float] | None:
        if value is None:
            return None
        half = 1.96 * math.sqrt(max(value * (1 - value), 1e-4) / n)
        return [max(0.0, value - half), min(1.0, value + half)]

    values = {
        "accuracy": accuracy,
        "selection_rate": selection,
        "tpr": tpr,
        "fpr": fpr,
        "fnr": None if tpr is None else 1 - tpr,
    }
    intervals = {name: interval(value) for name, value in values.items()}
    return {"n": n, **values, "intervals": intervals, "too_small": n < 30}


def _gaps(worst: str, accuracy_gap: float, parity: float | None, small: list[str]) -> dict[str, Any]:
    def around(value: float | None) -> list[float] | None:
        return None if value is None else [max(0.0, value - 0.05), value + 0.06]

    values = {
        "demographic_parity_difference": parity,
        "demographic_parity_ratio": None if parity is None else 1 - parity,
        "equalized_odds_difference": None if parity is None else 0.9 * parity,
        "equalized_odds_ratio": None if parity is None else 1 - 0.9 * parity,
        "equal_opportunity_difference": None if parity is None else 0.7 * parity,
        "accuracy_gap": accuracy_gap,
    }
    intervals = {name: around(value) for name, value in values.items()}
    return {**values, "worst_group": worst, "intervals": intervals, "too_small_groups": small}


def fairness(binary: bool = True) -> dict[str, Any]:
    """Columns sex and sex*race, with one group that is too small."""

    def rates(n: int, accuracy: float, base: float) -> dict[str, Any]:
        return _rates(n, accuracy, *((base, base + 0.3, base / 2) if binary else (None, None, None)))

    groups = {
        "sex=Female": rates(1620, 0.912, 0.10),
        "sex=Male": rates(3201, 0.803, 0.27),
        "sex*race=Female, White": rates(1310, 0.909, 0.11),
        "sex*race=Female, Black": rates(270, 0.944, 0.05),
        "sex*race=Male, White": rates(2830, 0.798, 0.29),
        "sex*race=Male, Black": rates(350, 0.86, 0.16),
        "sex*race=Male, Amer-Indian-Eskimo": rates(21, 0.762, 0.14),
        "sex*race=Female, Amer-Indian-Eskimo": _rates(0, None, None, None, None),
    }
    columns = {
        "sex": _gaps("Male", 0.109, 0.17 if binary else None, []),
        "sex*race": _gaps(
            "Male, White", 0.146, 0.24 if binary else None, ["Male, Amer-Indian-Eskimo", "Female, Amer-Indian-Eskimo"]
        ),
    }
    return {
        "groups": groups,
        "columns": columns,
        **{name: value for name, value in columns["sex"].items() if name.endswith(("difference", "ratio", "gap"))},
        "headline_column": "sex",
        "worst_group": "sex*race=Male, White",
        "worst_group_accuracy": 0.798,
        "confidence": 0.95,
        "positive": 1 if binary else None,
    }


def _partition(clients: int, classes: list[str], alpha: float = 0.4) -> dict[str, Any]:
    rng = stream(3, "partition")
    labels = [
        [int(v) for v in np.round(rng.dirichlet([alpha] * len(classes)) * rng.integers(40, 260))]
        for _ in range(clients)
    ]
    return {
        "class_names": classes,
        "clients": [
            {"client": c, "name": "", "rows": sum(counts), "test_rows": sum(counts) // 5, "labels": counts}
            for c, counts in enumerate(labels)
        ],
    }


def _records(rounds: int, clients: int, spent: list[list[float]] | None, top: float) -> list[RoundRecord]:
    records = []
    rng = stream(5, "scores")
    for number in range(1, rounds + 1):
        accuracy = top * (1 - math.exp(-number / 4)) + 0.008 * float(rng.standard_normal())
        each = spent[number - 1] if spent else []
        spread = EpsilonSpread(min(each), float(np.median(each)), max(each)) if spent else None
        records.append(
            RoundRecord(
                round=number,
                cohort=tuple(range(clients)),
                clients=tuple(range(clients)),
                refused=(),
                samples=1400,
                steps=10 * clients,
                test=TestScores({"accuracy": accuracy, "loss": 2.3 * math.exp(-number / 6) + 0.2}, 360),
                groups=None,
                epsilon=spread,
                uplink_bytes=clients * 19_240,
                downlink_bytes=clients * 19_240,
                messages=2 * clients,
                seconds={"train": 1.21, "evaluate": 0.08, "records": 0.01},
            )
        )
    return records


def _result(name: str, records: list[RoundRecord], clients: int) -> dict[str, Any]:
    last = records[-1].test
    assert last is not None
    return {
        "accord": "0.1.0",
        "study": name,
        "run": f"runs/{name}",
        "status": "done",
        "reason": None,
        "message": None,
        "rounds": len(records),
        "planned_rounds": len(records),
        "test": last.as_json(),
        "privacy": None,
        "fairness": None,
        "clients": {
            "population": clients,
            "evaluated": clients,
            "mean": 0.861,
            "std": 0.047,
            "min": 0.731,
            "max": 0.958,
            "worst_decile": 0.744,
            "too_small": 3,
        },
        "communication": {
            "uplink_bytes": sum(record.uplink_bytes for record in records),
            "downlink_bytes": sum(record.downlink_bytes for record in records),
            "messages": sum(record.messages for record in records),
        },
        "faults": {"dropped": 0, "timed_out": 0, "recovered": 0},
        "seconds": 27.4,
        "seconds_by_stage": {"data": 0.6, "train": 24.2, "evaluate": 1.6, "twin": 0.8, "records": 0.2},
        "samples_per_second": 1157.0,
        "peak_rss_mb": 412.5,
        "twin": None,
        "released": [
            {"what": "model after each round", "how": "made from the clients' updates"},
            {"what": "test accuracy and loss", "how": "exact, on test rows nobody trained on"},
        ],
        "versions": {"python": "3.11.7", "accord": "0.1.0", "torch": "2.13.0+cpu", "numpy": "2.4.6"},
        "data": {
            "name": "digits",
            "about": "scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, after UCI, CC BY 4.0.",
            "train_rows": 1437,
            "test_rows": 360,
            "classes": 10,
        },
    }


def _spent(clients: int, rounds: int, most: float) -> list[list[float]]:
    rates = [most * (0.35 + 0.65 * ((7 * c) % clients + 1) / clients) for c in range(clients)]
    return [[rate * math.sqrt(r / rounds) for rate in rates] for r in range(1, rounds + 1)]


def _privacy(spent: list[float], budget: float | None) -> dict[str, Any]:
    return {
        "unit": "sample",
        "epsilon": max(spent),
        "delta": 1e-5,
        "accountant": "rdp",
        "noise_multiplier": 1.124,
        "clip_norm": 1.0,
        "sensitivity": 1.0,
        "neighbouring_relation": "add_remove",
        "sampling": "poisson",
        "budget": budget,
        "per_client": {"min": min(spent), "median": float(np.median(spent)), "max": max(spent)},
        "noise_source": "simulated",
    }


def _study(partition: dict[str, Any], **sections: Any) -> Study:
    return Study.model_validate({"data": {"name": "digits"}, "partition": partition, **sections})


def _ledger(records: list[RoundRecord], spent: list[list[float]] | None) -> list[dict[str, Any]]:
    lines = []
    for record in records:
        epsilon = {str(c): value for c, value in enumerate(spent[record.round - 1])} if spent else {}
        lines.append(
            {
                "round": record.round,
                "clients": list(record.clients),
                "refused": list(record.refused),
                "epsilon": epsilon,
            }
        )
    return lines


def private_run(clients: int = 10, rounds: int = 20) -> Example:
    spent = _spent(clients, rounds, 1.96)
    records = _records(rounds, clients, spent, 0.91)
    result = _result("digits-private", records, clients)
    result["privacy"] = _privacy(spent[-1], 2.0)
    result["twin"] = {"test": {"accuracy": 0.9611, "loss": 0.132, "n": 360}}
    result["fairness"] = fairness()
    study = _study(
        {"name": "dirichlet", "num_partitions": clients, "alpha": 0.3},
        program={"name": "fedavg", "rounds": 20},
        privacy={"unit": "sample", "epsilon": 2.0, "delta": 1e-5},
        fairness={"groups": ["sex", "sex*race"]},
        evaluation={"twin": True},
    )
    return {
        "study": study,
        "name": "digits-private",
        "rounds": records,
        "ledger": _ledger(records, spent),
        "partition": _partition(clients, [str(k) for k in range(10)]),
        "result": result,
    }


def plain_run() -> Example:
    records = _records(12, 8, None, 0.94)
    classes = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]
    return {
        "study": _study(
            {"name": "iid", "num_partitions": 8},
            training={"momentum": 0.9},
            program={"name": "fedavg", "rounds": 12},
        ),
        "name": "plain",
        "rounds": records,
        "ledger": [],
        "partition": _partition(8, classes, alpha=5.0),
        "result": _result("plain", records, 8),
    }


def stopped_run() -> Example:
    example = private_run(rounds=7)
    example["result"] |= {
        "status": "stopped",
        "reason": "budget",
        "message": "No client can pay for round 8 within its budget of 2.00.",
        "planned_rounds": 20,
    }
    return example


def crowd_run(clients: int = 500) -> Example:
    example = private_run(clients=clients, rounds=15)
    example["name"] = example["result"]["study"] = "crowd"
    return example


def many_class_run() -> Example:
    """Fairness without a positive label: no rates, no parity, only accuracies."""
    example = private_run()
    example["result"]["fairness"] = fairness(binary=False)
    return example


def client_unit_run() -> Example:
    example = private_run()
    spent = [[0.3 * math.sqrt(r)] for r in range(1, 21)]
    example["rounds"] = _records(20, 10, spent, 0.9)
    example["result"]["privacy"] |= {
        "unit": "client",
        "epsilon": spent[-1][0],
        "neighbouring_relation": "replace_one",
        "sampling": "fixed",
        "sensitivity": 2.0,
        "per_client": {"min": spent[-1][0], "median": spent[-1][0], "max": spent[-1][0]},
    }
    example["ledger"] = [
        {**line, "epsilon": {"population": spent[k][0]}} for k, line in enumerate(_ledger(example["rounds"], None))
    ]
    return example


HOSTILE = "<script>alert('$x$ & \"y\"')</script>"


def hostile_run() -> Example:
    """Names of everything try to be markup, a formula, terminal codes or just long."""
    example = copy.deepcopy(private_run())
    groups = example["result"]["fairness"]["groups"]
    bad = [f"sex={HOSTILE}", "sex=[bold red]$\\frac{1}{0}$ \x1b[31m\n漢字" + "x" * 90]
    for old, new in zip(["sex=Female", "sex=Male"], bad, strict=True):
        groups[new] = groups.pop(old)
    example["result"]["fairness"]["worst_group"] = bad[1]
    names = [name.removeprefix("sex=") for name in bad]
    example["result"]["fairness"]["columns"]["sex"] |= {"worst_group": names[1], "too_small_groups": names[:1]}
    example["partition"]["class_names"][0] = HOSTILE
    example["partition"]["class_names"][1] = "$\\alpha"
    for client in example["partition"]["clients"]:
        client["name"] = HOSTILE + "\x00"
    example["name"] = example["result"]["study"] = HOSTILE
    example["result"]["data"]["about"] = HOSTILE
    example["result"]["released"].append({"what": HOSTILE, "how": HOSTILE})
    return example


def bare_run() -> Example:
    """Everything that may be missing is: one round, no scores by client, no loss."""
    example = plain_run()
    record = _records(1, 8, None, 0.5)[0]
    test = TestScores({"accuracy": 0.11, "loss": None}, 360)
    example["rounds"] = [RoundRecord(**{**record.__dict__, "test": test})]
    example["result"] |= {"clients": None, "rounds": 1, "planned_rounds": 1, "released": []}
    example["result"]["test"] = {"accuracy": 0.11, "loss": None, "n": 360}
    return example


def empty_run() -> Example:
    """Stopped before its first round: scores of the untrained model, no records."""
    example = stopped_run()
    example["rounds"], example["ledger"] = [], []
    example["result"] |= {"rounds": 0, "twin": None, "seconds_by_stage": {}}
    example["result"]["privacy"] |= {"epsilon": 0.0, "per_client": {"min": 0.0, "median": 0.0, "max": 0.0}}
    return example


def _lower(test: TestScores) -> dict[str, float | None]:
    return {**test.scores, "accuracy": (test["accuracy"] or 0) - 0.02}


def judged_run() -> Example:
    """All that may be judged: calibration, confusion, rates of few rows, fine-tuning, early stopping."""
    example = plain_run()
    result = example["result"]
    told = {
        "expected_calibration_error": 0.075,
        "maximum_calibration_error": 0.2,
        "brier": 0.31,
        "log_loss": None,
        "reliability": {
            "n": [0, 10, 200, 790],
            "confidence": [None, 0.45, 0.7, 0.9],
            "accuracy": [None, 0.25, 0.6, 0.93],
        },
    }
    measured = fairness()
    for group in measured["groups"].values():
        rates = [name for name, value in group["intervals"].items() if value] if group["too_small"] else []
        group |= {
            "too_small_rates": rates,
            "calibration": told if group["n"] else None,
            "confusion": [[1000, 250], [30, 120]] if group["n"] else None,
        }
    measured["groups"]["sex=Female"]["too_small_rates"] = ["tpr", "fnr"]
    measured["confusion"] = {"class_names": ["no", "yes"], "note": None}
    measured["columns"]["sex*race"]["intervals"]["accuracy_gap"] = [0.2, 0.4]  # above the gap itself
    spread = {"mean": 0.8, "std": 0.1, "min": 0.6, "max": 0.95, "worst_decile": 0.61}
    result |= {
        "reason": "early_stopping",
        "message": "no better loss on the rows held out in 3 evaluations; the model of round 9 is kept",
        "planned_rounds": 30,
        "calibration": {"bins": 4, **told},
        "fairness": measured,
        "fine_tune": {
            "clients": 9,
            "epochs": 2,
            "steps": None,
            "learning_rate": 0.05,
            "before": spread,
            "after": {"mean": 0.9, "std": 0.05, "min": 0.7, "max": 1.0, "worst_decile": 0.71},
            "improved": 6,
            "worsened": 1,
            "diverged": 1,
            "too_small": 2,
        },
        "early_stopping": {
            "stopped": True,
            "kept_round": 9,
            "best": 0.5,
            "metric": "loss",
            "patience": 3,
            "min_delta": 0.0,
            "n": 40,
        },
    }
    example["rounds"] = [
        replace(record, validation=TestScores(_lower(record.test), 40))
        for record in example["rounds"]
        if record.test is not None
    ]
    example["name"] = result["study"] = "judged"
    example["study"] = example["study"].model_copy(
        update={
            "evaluation": Evaluation.model_validate(
                {"early_stopping": {"patience": 3}, "fine_tune": {"epochs": 2, "clients": 9}}
            )
        }
    )
    return example


EXAMPLES: dict[str, Callable[[], Example]] = {
    "judged": judged_run,
    "private": private_run,
    "plain": plain_run,
    "stopped": stopped_run,
    "crowd": crowd_run,
    "many_class": many_class_run,
    "client_unit": client_unit_run,
    "hostile": hostile_run,
    "bare": bare_run,
    "empty": empty_run,
    "numbers": lambda: number_run(private_run()),
    "numbers_judged": lambda: number_run(judged_run()),
    "numbers_crowd": lambda: number_run(crowd_run()),
}
