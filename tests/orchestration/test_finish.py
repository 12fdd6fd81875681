"""The end of a run: each figure against a plain count over the saved model's predictions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import accord
from accord.config.schema import Study
from accord.fairness.groups import GroupCounts
from accord.orchestration import group_measures as module
from accord.orchestration.finish import conclude
from accord.orchestration.group_measures import QUANTILES, client_measures, client_quantiles, sums_by_column
from accord.orchestration.prepare import prepare
from accord.orchestration.run_state import Stop, begin
from accord.program.evaluate import evaluate


@pytest.fixture
def run(small_study: Callable[..., Study], tmp_path: Path) -> accord.Run:
    data = {"name": "synthetic", "train_rows": 300, "test_rows": 400, "classes": 2, "separation": 0.5}
    fairness = {"groups": ["group", "label"]}
    return accord.run(small_study(data=data, fairness=fairness), tmp_path / "run")


def test_group_figures_are_plain_counts(run: accord.Run) -> None:
    prepared = prepare(run.study)
    table = prepared.federated.data.test
    predicted = prepared.work.task.predict(run.params, table.x.float()).argmax(1).numpy()
    labels, codes = table.y.numpy(), table.groups["group"].codes
    assert run.result is not None
    assert run.result["test"]["accuracy"] == (predicted == labels).mean()
    for code, name in enumerate(table.groups["group"].names):
        told, rows = run.result["fairness"]["groups"][f"group={name}"], codes == code
        assert told["n"] == rows.sum()
        assert told["accuracy"] == pytest.approx((predicted == labels)[rows].mean(), abs=1e-12)
        assert told["selection_rate"] == pytest.approx((predicted == 1)[rows].mean(), abs=1e-12)
        assert told["tpr"] == pytest.approx((predicted == 1)[rows & (labels == 1)].mean(), abs=1e-12)
        assert told["fpr"] == pytest.approx((predicted == 1)[rows & (labels == 0)].mean(), abs=1e-12)


def test_clients_figures_are_plain_counts(run: accord.Run) -> None:
    prepared = prepare(run.study)
    table, shares = prepared.federated.data.test, prepared.federated.test
    predicted = prepared.work.task.predict(run.params, table.x.float()).argmax(1).numpy()
    right = predicted == table.y.numpy()
    accuracies = [right[shares.rows(client)].mean() for client in range(6)]
    assert run.result is not None
    clients = run.result["clients"]
    assert clients["population"] == clients["evaluated"] == 6
    assert clients["mean"] == pytest.approx(np.mean(accuracies))
    assert clients["worst_decile"] == clients["min"] == min(accuracies)
    written: list[dict[str, Any]] = json.loads((run.folder / "clients.json").read_text())["clients"]
    assert [client["accuracy"] for client in written] == accuracies
    assert all(set(client["gaps"]) == {"group", "label"} for client in written)
    assert written[0]["groups"]["group=0"]["too_small"] is (written[0]["groups"]["group=0"]["n"] < 30)


def test_the_clients_counts_add_up_to_the_test_sets(run: accord.Run) -> None:
    prepared = prepare(run.study)
    table, shares = prepared.federated.data.test, prepared.federated.test
    evaluated = evaluate(prepared.work.task, run.params, table, 100)
    over_all = sums_by_column(prepared, evaluated, slice(None))
    for column, counts in over_all.items():
        total: GroupCounts | None = None
        for client in range(6):
            part = sums_by_column(prepared, evaluated, shares.rows(client))[column]
            assert isinstance(part, GroupCounts)
            total = part if total is None else total + part
        assert total is not None
        assert isinstance(counts, GroupCounts)
        assert total.to_json() == counts.to_json()


def test_quantiles_are_those_over_the_clients_one_by_one(run: accord.Run) -> None:
    prepared = prepare(run.study)
    evaluated = evaluate(prepared.work.task, run.params, prepared.federated.data.test, 100)
    clients, told = client_measures(prepared, evaluated), client_quantiles(prepared, evaluated)

    def over(values: list[float | None]) -> dict[str, Any] | None:
        known = [value for value in values if value is not None]
        return (
            {
                "clients": len(known),
                "quantiles": pytest.approx(dict(zip(map(str, QUANTILES), np.quantile(known, QUANTILES), strict=True))),
            }
            if known
            else None
        )

    assert told["population"] == 6
    assert told["accuracy"] == over([client["accuracy"] for client in clients])
    assert set(told["groups"]) == set(clients[0]["groups"])
    for name, group in told["groups"].items():
        each = [client["groups"][name] for client in clients if client["groups"][name]["n"]]
        assert (group.pop("clients"), group.pop("too_small")) == (len(each), sum(one["too_small"] for one in each))
        assert group == {rate: over([one[rate] for one in each]) for rate in group}
        assert "accuracy" in group


def test_beyond_the_limit_clients_are_summed_up(
    run: accord.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CLIENTS", 5)
    data = {"name": "synthetic", "train_rows": 300, "test_rows": 4, "classes": 3}
    study = run.study.model_validate(run.study.model_dump(exclude_unset=True) | {"data": data})
    again = accord.run(study, tmp_path / "again")
    assert again.result is not None
    written = json.loads((again.folder / "clients.json").read_text())
    assert "clients" not in written
    assert written["accuracy"]["clients"] == again.result["clients"]["evaluated"] <= 4
    assert written["accuracy"]["quantiles"]["0.0"] == again.result["clients"]["min"]
    assert written["groups"]["group=0"]["tpr"] is None  # three classes: no label counts as positive


def test_without_fairness_there_are_no_groups(small_study: Callable[..., Study], tmp_path: Path) -> None:
    run = accord.run(small_study(fairness=None), tmp_path / "run")
    assert run.result is not None
    assert run.result["fairness"] is None
    assert not (run.folder / "clients.json").exists()
    prepared = prepare(run.study)
    evaluated = evaluate(prepared.work.task, run.params, prepared.federated.data.test, 100)
    assert client_measures(prepared, evaluated) == []


def test_a_stop_is_told(small_study: Callable[..., Study], tmp_path: Path) -> None:
    prepared = prepare(small_study())
    result = conclude(prepared, tmp_path, begin(prepared, tmp_path), Stop("budget", "round 1 would"), None)
    assert (result.status, result.reason, result.rounds) == ("stopped", "budget", 0)
    assert result.samples_per_second == 0.0
