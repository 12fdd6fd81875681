"""Linear regression from study to result: oracles, both engines, every privacy unit, records, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import accord
import regressions
from accord.config.load import dump_study, load_study, parse_study
from accord.config.schema import Study
from accord.core.errors import AccordError, StudyError
from accord.data.load import load_data
from accord.orchestration.prepare import prepare
from accord.orchestration.run_folder import open_run
from accord.orchestration.runs import resume

SAMPLE = {"unit": "sample", "epsilon": 8.0, "delta": 1e-4}
CLIENT = SAMPLE | {"unit": "client", "delta": 1e-2}
FULL = {"learning_rate": 0.1, "batch_size": "full", "local_steps": 1, "dtype": "float64"}


def centralised(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """All training rows with a column of ones, and their targets, in float64."""
    train = load_data(study.data, study.seed).train
    x = train.x.double().numpy()
    return np.hstack([x, np.ones((len(x), 1))]), train.y.double().numpy()


def weights_of(run: accord.Run) -> np.ndarray:
    (weight, bias) = run.params.values()
    return np.append(weight.numpy()[0], bias.numpy())


# --- oracles ------------------------------------------------------------------------------------------


def test_one_full_batch_step_a_round_is_gradient_descent(tmp_path: Path) -> None:
    partition = {"name": "size", "partition_sizes": [20, 30, 50, 70, 130]}
    study = regressions.study(training=FULL, program={"name": "fedavg", "rounds": 12}, partition=partition)
    x, y = centralised(study)
    w = np.zeros(x.shape[1])
    for _ in range(12):
        w -= 0.1 * 2 * x.T @ (x @ w - y) / len(y)
    assert weights_of(accord.run(study, tmp_path / "run")) == pytest.approx(w, rel=1e-9)


def test_many_rounds_come_to_least_squares(tmp_path: Path) -> None:
    study = regressions.study(training=FULL, program={"name": "fedavg", "rounds": 150})
    x, y = centralised(study)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    run = accord.run(study, tmp_path / "run")
    assert weights_of(run) == pytest.approx(best, rel=1e-8)
    assert run.result is not None
    test = load_data(study.data, study.seed).test
    predicted = np.hstack([test.x.double().numpy(), np.ones((120, 1))]) @ best
    told = run.result["test"]
    assert told["loss"] == pytest.approx(np.mean((predicted - test.y.numpy()) ** 2), rel=1e-6)
    assert told["r2"] > 0.7


def test_the_example_learns_the_bundled_patients(tmp_path: Path) -> None:
    study = load_study(Path(__file__).parents[2] / "examples" / "linear.yaml")
    x, y = centralised(study)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    test = load_data(study.data, study.seed).test
    reached = np.hstack([test.x.double().numpy(), np.ones((len(test), 1))]) @ best - test.y.double().numpy()
    run = accord.run(study, tmp_path / "run")
    assert run.result is not None
    assert run.result["test"]["r2"] > 0.3
    assert run.result["test"]["rmse"] < 1.1 * np.sqrt(np.mean(reached**2))  # of least squares on all rows at once


# --- engines, privacy, models -------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "mlp": {"model": {"name": "mlp", "hidden": [5]}},
    "lora": {"model": {"name": "mlp", "hidden": [5], "lora": {"rank": 2}}, "privacy": SAMPLE},
    "custom": {"model": {"name": "custom", "function": "accord.models.dense:mlp", "settings": {"hidden": [4]}}},
    "sample": {"privacy": SAMPLE},
    "per layer": {"privacy": SAMPLE | {"per_layer": True}},
    "batch": {"privacy": SAMPLE | {"unit": "batch"}},
    "client": {"privacy": CLIENT, "program": {"name": "fedavg", "rounds": 4, "weights": "uniform"}},
    "adaptive": {
        "privacy": CLIENT
        | {"epsilon": None, "noise_multiplier": 1.0, "adaptive": {"target_quantile": 0.5, "count_noise": 2.0}},
        "program": {"name": "fedavg", "rounds": 4, "weights": "uniform"},
    },
    "local": {"privacy": SAMPLE | {"unit": "local", "epsilon": 50.0, "delta": 1e-2}},
    "afl": {"program": {"name": "afl", "rounds": 3}},
    "qffl": {"program": {"name": "qffl", "rounds": 3}, "training": FULL},
    "scaffold": {"program": {"name": "scaffold", "rounds": 3}},
    "ditto": {"program": {"name": "ditto", "rounds": 3}},
    "median": {"program": {"name": "median", "rounds": 3}, "attack": {"name": "sign_flip", "fraction": 0.2}},
    "sorted": {"partition": {"name": "sorted", "num_partitions": 5}},
    "shard": {"partition": {"name": "shard", "num_partitions": 5}},
    "natural": {"partition": {"name": "natural", "partition_by": "group"}},
    "square": {"partition": {"name": "square", "num_partitions": 5}},
    "imbalance": {"imbalance": {"group": "group", "value": "0", "share": 0.1}},
    "early stopping": {"evaluation": {"early_stopping": {"patience": 1, "fraction": 0.3, "min_delta": 100.0}}},
    "fine tuning": {"evaluation": {"fine_tune": {"epochs": 2}}},
    "twin": {"privacy": SAMPLE, "evaluation": {"twin": True}},
}


@pytest.mark.usefixtures("engines_share_draws")
@pytest.mark.parametrize("kind", KINDS)
def test_engines_agree(tmp_path: Path, kind: str) -> None:
    ends = []
    for engine in ("sequential", "vectorised"):
        training = {"learning_rate": 0.05, "batch_size": 10, "dtype": "float64"}
        study = regressions.study(**({"training": training} | KINDS[kind]), engine={"name": engine})
        ends.append(accord.run(study, tmp_path / engine))
    slow, fast = ends
    for name, value in slow.params.items():
        torch.testing.assert_close(fast.params[name], value, rtol=1e-9, atol=1e-12)
    assert slow.result is not None
    assert fast.result is not None
    assert slow.result["privacy"] == fast.result["privacy"]
    assert slow.result["task"] == fast.result["task"] == "regression"
    one, other = slow.result["test"], fast.result["test"]
    assert [one[name] for name in ("loss", "mae", "r2")] == pytest.approx(
        [other[name] for name in ("loss", "mae", "r2")], rel=1e-6
    )


def test_noise_and_clipping_are_really_there(tmp_path: Path) -> None:
    ends = []
    for number, clip_norm in enumerate((1e-6, 1.0)):
        privacy = SAMPLE | {"clip_norm": clip_norm}
        ends.append(weights_of(accord.run(regressions.study(privacy=privacy), tmp_path / str(number))))
    assert np.abs(ends[0]).max() < 1e-4  # nothing gets past so small a norm
    assert np.abs(ends[1]).max() > 1e-2


# --- records ------------------------------------------------------------------------------------------


def test_what_a_run_records(tmp_path: Path) -> None:
    evaluation = {"fine_tune": {"epochs": 1}, "early_stopping": {"patience": 3}}
    program = {"name": "ditto", "rounds": 3}
    run = accord.run(regressions.study(evaluation=evaluation, program=program), tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["task"], result["calibration"], result["data"]["classes"]) == ("regression", None, 0)
    assert list(result["test"]) == ["accuracy", "loss", "n", "rmse", "mae", "r2"]
    assert result["test"]["accuracy"] is None
    assert result["fairness"]["measure"] == "mse"
    spreads = [result["clients"], *(result["fine_tune"][each] for each in ("before", "after"))]
    spreads += [result["personal"][each] for each in ("shared", "own")]
    for spread in spreads:
        assert spread["measure"] == "mse"
        assert 0 < spread["min"] <= spread["mean"] <= spread["worst_decile"] <= spread["max"]
    assert result["fine_tune"]["before"]["mean"] == pytest.approx(result["clients"]["mean"])
    assert not any("accuracy" in line["what"] for line in result["released"])
    last = json.loads((tmp_path / "run" / "rounds.jsonl").read_text().splitlines()[-1])
    assert list(last["test"]) == list(last["validation"]) == list(result["test"])
    by_group = {name: group["mse"] for name, group in result["fairness"]["groups"].items()}
    assert {f"group={name}": mse for name, mse in last["groups"]["group"].items()} == pytest.approx(by_group)
    assert open_run(tmp_path / "run").rounds == run.rounds
    listed = json.loads((tmp_path / "run" / "partition.json").read_text())
    assert listed["class_names"] == []
    assert all(client["labels"] == [] for client in listed["clients"])


def test_very_many_clients_are_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accord.data import partition_summary as summary_module
    from accord.orchestration import group_measures

    monkeypatch.setattr(group_measures, "MOST_CLIENTS", 5)
    monkeypatch.setattr(summary_module, "MOST_LISTED", 5)
    accord.run(regressions.study(), tmp_path / "run")
    told = json.loads((tmp_path / "run" / "partition.json").read_text())
    assert (told["class_names"], told["labels"], told["label_shares"]) == ([], [], [])
    assert told["rows"] == {"50": 6}
    assert set(json.loads((tmp_path / "run" / "clients.json").read_text())) == {"population", "mse", "groups"}


def test_a_run_taken_up_ends_where_it_would_have(tmp_path: Path) -> None:
    study = regressions.study(privacy=SAMPLE)
    whole = accord.run(study, tmp_path / "whole")

    def stop(stage: str, record: object, planned: int) -> None:
        if record.round == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    accord.run(study, tmp_path / "cut", on_round=stop)
    again = resume(tmp_path / "cut")
    for name, value in whole.params.items():
        assert torch.equal(again.params[name], value)
    assert again.result is not None
    assert whole.result is not None
    assert again.result["test"] == whole.result["test"]


def test_the_resolved_study_is_the_study() -> None:
    study = regressions.study()
    assert parse_study(dump_study(study)) == study


def test_a_label_column_of_floats_is_a_regression_with_a_network_of_ones_own(tmp_path: Path) -> None:
    study = regressions.study(
        data={"name": "custom", "function": "number_rows:prices"}, fairness=None, model={"name": "mlp"}, privacy=SAMPLE
    )
    run = accord.run(study, tmp_path / "run")  # nothing is read off the rows, so a private study may use them
    assert run.result is not None
    assert run.result["data"]["classes"] == 0


def test_a_diverging_run_says_so(tmp_path: Path) -> None:
    study = regressions.study(training=FULL | {"learning_rate": 1e30, "dtype": "float32"})
    with pytest.raises(AccordError, match="no longer finite"):
        accord.run(study, tmp_path / "run")


# --- what is refused ----------------------------------------------------------------------------------

NUMBER = "but the data's target is a number"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": "logistic"}, "model.name: logistic predicts classes, but the data's target is a number; use linear"),
    ({"model": "lstm"}, "lstm takes tokens"),
    ({"partition": "dirichlet"}, f"partition dirichlet goes by classes, {NUMBER}; use iid"),
    ({"partition": "inner-dirichlet"}, f"partition inner-dirichlet goes by classes, {NUMBER}"),
    ({"partition": "pathological"}, f"partition pathological goes by classes, {NUMBER}"),
    (
        {"partition": {"name": "natural", "partition_by": "label"}},
        f"partition.partition_by label goes by classes, {NUMBER}; name a group column",
    ),
    (
        {"imbalance": {"group": "label", "value": "0", "share": 0.5}},
        f"imbalance.group label goes by classes, {NUMBER}; name a group column",
    ),
    (
        {"imbalance": {"group": "group", "value": "0", "share": 0.5, "balance_labels": True}},
        f"imbalance.balance_labels goes by classes, {NUMBER}; set it to false",
    ),
    (
        {"attack": {"name": "label_flip", "fraction": 0.2}},
        f"attack label_flip goes by classes, {NUMBER}; use another attack, such as sign_flip",
    ),
    ({"fairness": {"groups": ["label"]}}, f"fairness.groups label goes by classes, {NUMBER}; name a group column"),
    ({"fairness": {"groups": ["group*label"]}}, f"fairness.groups label goes by classes, {NUMBER}"),
    ({"fairness": {"groups": ["group"], "positive": 1}}, f"fairness.positive 1 is a label, {NUMBER}; leave it out"),
    (
        {"evaluation": {"early_stopping": {"metric": "accuracy"}}},
        "evaluation.early_stopping.metric accuracy is no score of a regression; set it to one of rmse, loss, mae, r2",
    ),
]


@pytest.mark.parametrize(("sections", "message"), REFUSED)
def test_what_needs_classes_is_refused(tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        accord.run(regressions.study(**sections), tmp_path / "run")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_number_is_not_predicted_from_classes(small_study: Callable[..., Study]) -> None:
    with pytest.raises(StudyError, match="linear predicts a number, but the data has 3 classes; use logistic"):
        prepare(small_study(model="linear"))


def test_a_network_of_ones_own_has_one_output(tmp_path: Path) -> None:
    study = regressions.study(model={"name": "custom", "function": "number_rows:two_outputs"})
    with pytest.raises(StudyError, match=r"must map \[2, 6\] to logits of shape \[2, 1\], but gives \[2, 2\]"):
        accord.run(study, tmp_path / "run")
