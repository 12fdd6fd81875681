"""Parts of a result: calibration, confusion and fine-tuning as plain counts over the saved model's predictions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import accord
from accord.config.schema import Study
from accord.core.errors import StudyError
from accord.data.federated import DataSet, Table
from accord.fairness.confusion import MOST_CLASSES
from accord.orchestration.evaluation import group_confusion
from accord.orchestration.prepare import prepare
from accord.program.evaluate import evaluate, groupings

DATA = {"name": "synthetic", "train_rows": 300, "test_rows": 400, "classes": 3, "separation": 0.8}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> accord.Run:
    study = Study.model_validate(
        {
            "data": DATA,
            "partition": {"name": "dirichlet", "num_partitions": 6, "alpha": 0.3, "min_partition_size": 5},
            "model": {"name": "logistic"},
            "training": {"learning_rate": 0.3, "batch_size": 10},
            "program": {"name": "fedavg", "rounds": 3},
            "fairness": {"groups": ["group", "label"]},
            "evaluation": {"calibration_bins": 7, "fine_tune": {"epochs": 3, "learning_rate": 0.1, "clients": 4}},
        }
    )
    return accord.run(study, tmp_path_factory.mktemp("judged") / "run")


def result_of(run: accord.Run) -> dict[str, Any]:
    assert run.result is not None
    return run.result


def test_calibration_overall_and_by_group(run: accord.Run) -> None:
    prepared = prepare(run.study)
    table = prepared.federated.data.test
    probability = prepared.work.task.predict(run.params, table.x.float()).double().softmax(1).detach().numpy()
    right, sure = probability.argmax(1) == table.y.numpy(), probability.max(1)

    def naive(at: Any) -> float:
        bins = np.ceil(sure[at] * 7).astype(int)
        return float(
            sum(
                (bins == b).mean() * abs(right[at][bins == b].mean() - sure[at][bins == b].mean())
                for b in np.unique(bins)
            )
        )

    result, everything = result_of(run), np.ones(400, dtype=bool)
    assert result["calibration"]["bins"] == 7
    assert result["calibration"]["expected_calibration_error"] == pytest.approx(naive(everything), abs=1e-6)
    assert result["calibration"]["log_loss"] == pytest.approx(result["test"]["loss"])
    for code, name in enumerate(table.groups["group"].names):
        told = result["fairness"]["groups"][f"group={name}"]["calibration"]
        at = table.groups["group"].codes == code
        assert told["expected_calibration_error"] == pytest.approx(naive(at), abs=1e-6)
        assert sum(told["reliability"]["n"]) == at.sum()


def test_confusion_by_group_agrees_with_the_rates(run: accord.Run) -> None:
    fairness = result_of(run)["fairness"]
    names = list(prepare(run.study).federated.data.class_names)
    assert fairness["confusion"] == {"class_names": names, "note": None}
    for name, group in fairness["groups"].items():
        matrix = np.array(group["confusion"])
        assert matrix.sum() == group["n"]
        assert matrix.trace() / matrix.sum() == pytest.approx(group["accuracy"])
        if name.startswith("label="):
            assert (matrix.sum(1) > 0).sum() == 1


def test_of_many_classes_no_matrix_is_kept() -> None:
    classes = MOST_CLASSES + 1
    table = Table(torch.zeros(classes, 2), torch.arange(classes))
    data = DataSet("made", table, table, tuple(map(str, range(classes))), "Made.")
    task = prepare(Study.model_validate({"data": {**DATA, "classes": classes, "features": 2}})).work.task
    evaluated = evaluate(task, task.init(), table, 100)
    found, about = group_confusion(groupings(data, ["label"]), data.class_names, evaluated)
    assert found == {}
    assert about == {"class_names": [], "note": "left out: 21 classes are more than the 20 of which a matrix is kept"}


def test_fine_tuning_is_told_over_its_clients(run: accord.Run) -> None:
    told, clients = result_of(run)["fine_tune"], result_of(run)["clients"]
    assert (told["clients"], told["epochs"], told["steps"], told["learning_rate"]) == (4, 3, None, 0.1)
    assert told["after"]["mean"] > told["before"]["mean"]  # shares are skewed: a client's own model knows its labels
    assert clients["min"] <= told["before"]["min"] <= told["before"]["worst_decile"] <= told["before"]["mean"]
    assert told["improved"] + told["worsened"] <= 4
    assert told["diverged"] == 0
    assert any("fine-tuned" in row["what"] for row in result_of(run)["released"])


def test_fine_tuning_leaves_the_run_as_it_was(run: accord.Run, tmp_path: Path) -> None:
    plain = run.study.model_copy(update={"evaluation": run.study.evaluation.model_copy(update={"fine_tune": None})})
    other = accord.run(plain, tmp_path / "run")
    assert all(value.numpy().tobytes() == run.params[name].numpy().tobytes() for name, value in other.params.items())
    assert result_of(other)["fine_tune"] is None
    assert result_of(other)["clients"] == result_of(run)["clients"]


def test_it_is_the_same_on_both_engines(run: accord.Run, tmp_path: Path) -> None:
    settings = run.study.model_dump(exclude_unset=True) | {"engine": {"name": "sequential"}}
    other = result_of(accord.run(Study.model_validate(settings), tmp_path / "run"))["fine_tune"]
    assert other["after"]["mean"] == pytest.approx(result_of(run)["fine_tune"]["after"]["mean"], abs=0.02)
    assert {**other, "before": 0, "after": 0, "improved": 0, "worsened": 0} == {
        **result_of(run)["fine_tune"],
        "before": 0,
        "after": 0,
        "improved": 0,
        "worsened": 0,
    }


@pytest.mark.parametrize("unit", ["sample", "batch", "client"])
def test_fine_tuning_is_refused_under_privacy(unit: str, small_study: Callable[..., Study]) -> None:
    privacy = {"unit": unit, "noise_multiplier": 1.0, "delta": 1e-3}
    program = {"name": "fedavg", "rounds": 2, "weights": "uniform"}
    with pytest.raises(StudyError, match=r"evaluation\.fine_tune trains without noise") as caught:
        small_study(privacy=privacy, program=program, evaluation={"fine_tune": {"epochs": 1}})
    assert "\n" not in str(caught.value)


def test_more_clients_than_there_are_is_refused_before_anything_is_written(
    small_study: Callable[..., Study], tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="larger than the population of 6 clients"):
        accord.run(small_study(evaluation={"fine_tune": {"clients": 7}}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
