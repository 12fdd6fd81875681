"""The end of a run: each figure against a plain count over the saved model's predictions."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

import accord
from accord.config.schema import Study
from accord.fairness.groups import GroupCounts
from accord.orchestration import group_measures as module
from accord.orchestration.evaluation import evaluate_final
from accord.orchestration.finish import conclude
from accord.orchestration.group_measures import QUANTILES, client_measures, client_quantiles, sums_by_column
from accord.orchestration.prepare import prepare
from accord.orchestration.run_state import Stop, begin


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
    shares = prepared.federated.test
    evaluated = evaluate_final(prepared, run.params)
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
    evaluated = evaluate_final(prepared, run.params)
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


def test_a_model_that_says_no_to_everyone_gets_no_clean_bill(small_study: Callable[..., Study], tmp_path: Path) -> None:
    """Fails where gaps are bootstrapped ("0.000 to 0.000"), and where nothing says what 70% accuracy is worth."""
    data = {"name": "synthetic", "train_rows": 300, "test_rows": 400, "classes": 2, "separation": 0.5}
    prepared = prepare(small_study(data=data, fairness={"groups": ["group"], "positive": 1}))
    state = begin(prepared, tmp_path)
    # All weight on the bias of class 0: the same answer to every row.
    no = {name: torch.zeros_like(value) for name, value in state.server.params.items()}
    bias = next(name for name in no if name.endswith("bias"))
    no[bias][0] = 1.0
    result = conclude(prepared, tmp_path, replace(state, server=replace(state.server, params=no)), None, None)
    labels = prepared.federated.data.test.y.numpy()
    share = (labels == 0).mean()
    assert result.test.score("accuracy") == pytest.approx(share)
    assert result.test.score("majority_share") == pytest.approx(max(share, 1 - share))
    assert result.test.predicts_one_label == "0"
    assert result.test.majority_label == ("0" if share > 0.5 else "1")
    assert (result.test.score("balanced_accuracy"), result.test.score("roc_auc")) == (0.5, 0.5)
    assert result.test.score("average_precision") == pytest.approx(1 - share)  # of chance: the share of the positive
    assert result.fairness is not None
    assert result.fairness.positive_label == "1"
    for column in result.fairness.columns.values():
        assert column.score("demographic_parity_difference") == column.score("equalized_odds_difference") == 0.0
        for gap in ("demographic_parity_difference", "equalized_odds_difference", "equal_opportunity_difference"):
            low, high = column.interval(gap) or (0.0, 0.0)
            assert low == 0.0
            assert high > 0.01


def test_scores_of_the_final_model_are_scikit_learns(run: accord.Run) -> None:
    prepared = prepare(run.study)
    table = prepared.federated.data.test
    scores = prepared.work.task.predict(run.params, table.x.float()).double().softmax(1).detach().numpy()[:, 1]
    labels, predicted = table.y.numpy(), scores > 0.5
    assert run.result is not None
    test = run.result["test"]
    assert test["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert test["roc_auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert test["average_precision"] == pytest.approx(average_precision_score(labels, scores))
    assert test["predicts_one_label"] is None
    codes = table.groups["group"].codes
    for code, name in enumerate(table.groups["group"].names):
        rows, group = codes == code, run.result["fairness"]["groups"][f"group={name}"]
        assert group["roc_auc"] == pytest.approx(roc_auc_score(labels[rows], scores[rows]))
        assert group["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels[rows], predicted[rows]))
        assert group["one_class"] is False
        for measure in ("roc_auc", "balanced_accuracy"):
            low, high = group["intervals"][measure]
            assert low < group[measure] < high
        few = bool(min(np.bincount(labels[rows])) < 30)  # the study's min_group_size
        assert ({"roc_auc", "balanced_accuracy", "average_precision"} <= set(group["too_small_rates"])) is few
    for name in ("label=0", "label=1"):  # a group by label has one class: nothing to rank
        group = run.result["fairness"]["groups"][name]
        assert (group["roc_auc"], group["average_precision"], group["one_class"]) == (None, None, True)
        assert group["intervals"]["roc_auc"] is group["intervals"]["balanced_accuracy"] is None


def test_without_fairness_there_are_no_groups(small_study: Callable[..., Study], tmp_path: Path) -> None:
    run = accord.run(small_study(fairness=None), tmp_path / "run")
    assert run.result is not None
    assert run.result["fairness"] is None
    assert not (run.folder / "clients.json").exists()
    prepared = prepare(run.study)
    evaluated = evaluate_final(prepared, run.params)
    assert client_measures(prepared, evaluated) == []


def test_a_stop_is_told(small_study: Callable[..., Study], tmp_path: Path) -> None:
    prepared = prepare(small_study())
    result = conclude(prepared, tmp_path, begin(prepared, tmp_path), Stop("budget", "round 1 would"), None)
    assert (result.status, result.reason, result.rounds) == ("stopped", "budget", 0)
    assert result.samples_per_second == 0.0
