"""A regression's errors by group: clients add up to the whole, quantiles are those of the clients."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import accord
import regressions
from accord.orchestration.evaluation import spread_json
from accord.orchestration.finish import QUANTILES
from accord.orchestration.group_errors import client_error_quantiles, client_errors, error_fairness
from accord.orchestration.prepare import prepare
from accord.orchestration.scoring import group_scores, scores_of
from accord.program.evaluate import JudgedNumbers, judge


def test_clients_and_groups_add_up(tmp_path: Path) -> None:
    study = regressions.study()
    run, prepared = accord.run(study, tmp_path / "run"), prepare(study)
    judged = judge(prepared.work.task, run.params, prepared.federated.data.test, 100)
    assert isinstance(judged, JudgedNumbers)
    clients = client_errors(prepared, judged)
    assert json.loads((tmp_path / "run" / "clients.json").read_text()) == {"clients": clients}
    assert run.result is not None
    for name, whole in run.result["fairness"]["groups"].items():
        own = [each["groups"][name] for each in clients]
        assert sum(each["n"] for each in own) == whole["n"]
        total = sum(each["n"] * (each["mse"] or 0) for each in own)
        assert total / whole["n"] == pytest.approx(whole["mse"])
    told = client_error_quantiles(prepared, judged, QUANTILES)
    expected = np.quantile([each["mse"] for each in clients], QUANTILES)
    assert list(told["mse"]["quantiles"].values()) == pytest.approx(list(expected))
    group = told["groups"]["group=0"]
    known = [each["groups"]["group=0"]["bias"] for each in clients]
    assert list(group["bias"]["quantiles"].values()) == pytest.approx(list(np.quantile(known, QUANTILES)))
    assert (group["clients"], group["too_small"]) == (6, 6)


@pytest.mark.parametrize("value", [3e38, np.inf])
def test_predictions_that_are_not_finite_are_told_as_unknown(value: float) -> None:
    """Finite parameters may predict what is not; no record may hold what JSON has no number for."""
    prepared = prepare(regressions.study())
    huge = {name: torch.full_like(each, min(value, 3e38)) for name, each in prepared.initial.items()}
    judged = judge(prepared.work.task, huge, prepared.federated.data.test, 100)
    assert isinstance(judged, JudgedNumbers)
    if value == np.inf:
        judged = JudgedNumbers(np.full(120, np.inf), judged.targets, np.full(120, np.inf))
    assert not np.isfinite(judged.predictions).all()
    told = [
        scores_of(judged).as_json(),
        group_scores(prepared.groups, judged.score),
        error_fairness(prepared, judged),
        client_errors(prepared, judged),
        client_error_quantiles(prepared, judged, QUANTILES),
        spread_json(judged.spread(np.array([np.inf, 1.0]), np.array([5, 5])), judged),
    ]
    json.dumps(told, allow_nan=False)
    assert told[0] == {"accuracy": None, "loss": None, "n": 120, "rmse": None, "mae": None, "r2": None}


def test_without_groups_there_is_nothing_to_tell() -> None:
    prepared = prepare(regressions.study(fairness=None))
    judged = judge(prepared.work.task, prepared.initial, prepared.federated.data.test, 100)
    assert isinstance(judged, JudgedNumbers)
    assert error_fairness(prepared, judged) is None
    assert client_errors(prepared, judged) == []
