"""A regression's errors by group: clients add up to the whole, quantiles are those of the clients."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import accord
import regressions
from accord.orchestration.group_measures import QUANTILES, client_measures, client_quantiles, fairness_report
from accord.orchestration.prepare import prepare
from accord.orchestration.prepared import Prepared
from accord.orchestration.scoring import group_scores, scores_of
from accord.program.evaluate import evaluate
from accord.tasks.base import Evaluated


def test_clients_and_groups_add_up(tmp_path: Path) -> None:
    study = regressions.study()
    run, prepared = accord.run(study, tmp_path / "run"), prepare(study)
    evaluated = evaluate(prepared.work.task, run.params, prepared.federated.data.test, 100)
    clients = client_measures(prepared, evaluated)
    assert json.loads((tmp_path / "run" / "clients.json").read_text()) == {"clients": clients}
    assert run.result is not None
    for name, whole in run.result["fairness"]["groups"].items():
        own = [each["groups"][name] for each in clients]
        assert sum(each["n"] for each in own) == whole["n"]
        total = sum(each["n"] * (each["mse"] or 0) for each in own)
        assert total / whole["n"] == pytest.approx(whole["mse"])
    told = client_quantiles(prepared, evaluated)
    expected = np.quantile([each["mse"] for each in clients], QUANTILES)
    assert list(told["mse"]["quantiles"].values()) == pytest.approx(list(expected))
    group = told["groups"]["group=0"]
    known = [each["groups"]["group=0"]["bias"] for each in clients]
    assert list(group["bias"]["quantiles"].values()) == pytest.approx(list(np.quantile(known, QUANTILES)))
    assert (group["clients"], group["too_small"]) == (6, 6)


def test_a_clients_group_is_too_small_below_the_size_given_and_not_at_it() -> None:
    """The size asked for is that of one client's group: off by one, that client would be counted too."""
    sizes = [each["groups"]["group=0"]["n"] for each in client_measures(*evaluated_with({"groups": ["group"]}))]
    at = sorted(sizes)[3]
    section = {"groups": ["group"], "min_group_size": at}
    clients, told = client_measures(*evaluated_with(section)), client_quantiles(*evaluated_with(section))
    assert [each["groups"]["group=0"]["too_small"] for each in clients] == [size < at for size in sizes]
    assert told["groups"]["group=0"]["too_small"] == sum(size < at for size in sizes) < 6


def evaluated_with(fairness: dict[str, Any]) -> tuple[Prepared, Evaluated]:
    prepared = prepare(regressions.study(fairness=fairness))
    return prepared, evaluate(prepared.work.task, prepared.initial, prepared.federated.data.test, 100)


@pytest.mark.parametrize("value", [3e38, np.inf])
def test_predictions_that_are_not_finite_are_told_as_unknown(value: float) -> None:
    """Finite parameters may predict what is not; no record may hold what JSON has no number for."""
    prepared = prepare(regressions.study())
    huge = {name: torch.full_like(each, min(value, 3e38)) for name, each in prepared.initial.items()}
    evaluated = evaluate(prepared.work.task, huge, prepared.federated.data.test, 100)
    if value == np.inf:
        evaluated = replace(evaluated, predictions=np.full(120, np.inf), losses=np.full(120, np.inf))
    assert not np.isfinite(evaluated.predictions).all()
    told = [
        scores_of(evaluated).as_json(),
        group_scores(prepared.groups, evaluated.row_scores),
        fairness_report(prepared, evaluated),
        client_measures(prepared, evaluated),
        client_quantiles(prepared, evaluated),
        evaluated.kind.spread_json(evaluated.kind.spread(np.array([np.inf, 1.0]), np.array([5, 5]))),
    ]
    json.dumps(told, allow_nan=False)
    assert told[0] == {"accuracy": None, "loss": None, "n": 120, "rmse": None, "mae": None, "r2": None}


def test_without_groups_there_is_nothing_to_tell() -> None:
    prepared = prepare(regressions.study(fairness=None))
    evaluated = evaluate(prepared.work.task, prepared.initial, prepared.federated.data.test, 100)
    assert fairness_report(prepared, evaluated) is None
    assert client_measures(prepared, evaluated) == []
