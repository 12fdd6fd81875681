"""`predictions.parquet` against the saved model, and fed to Fairlearn as the guide shows."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
from fairlearn.metrics import MetricFrame
from sklearn.metrics import accuracy_score

import accord
import regressions
from accord.config.evaluation import Evaluation
from accord.config.schema import Study
from accord.core.errors import StudyError
from accord.orchestration.predictions import FILE, check_predictions
from accord.orchestration.prepare import prepare

GUIDE = Path(__file__).parents[2] / "docs" / "fairness.md"
DATA = {"name": "synthetic", "train_rows": 300, "test_rows": 400, "classes": 3, "separation": 0.5}


def test_rows_are_those_of_the_model_and_feed_fairlearn_as_the_guide_says(
    small_study: Callable[..., Study], tmp_path: Path
) -> None:
    run = accord.run(small_study(data=DATA, evaluation={"predictions": True}), tmp_path / "run")
    guide = GUIDE.read_text(encoding="utf-8").partition("## Your own measures")[2]
    lines = re.search(r"```python\n(.*?)```", guide, re.DOTALL)
    assert lines is not None
    made = {"run": run, "pandas": pandas, "MetricFrame": MetricFrame, "accuracy_score": accuracy_score}
    exec(lines[1], made)  # the two lines of the guide
    rows, frame = made["rows"], made["frame"]
    assert isinstance(rows, pandas.DataFrame)
    assert isinstance(frame, MetricFrame)
    table = prepare(run.study).federated.data.test
    probabilities = prepare(run.study).work.task.predict(run.params, table.x.float()).double().softmax(1).numpy()
    assert rows["label"].tolist() == [str(label) for label in table.y.tolist()]
    assert rows["prediction"].tolist() == [str(label) for label in probabilities.argmax(1)]
    assert rows[[f"probability.{label}" for label in range(3)]].to_numpy() == pytest.approx(probabilities)
    assert run.result is not None
    for name, accuracy in frame.by_group.items():
        assert accuracy == pytest.approx(run.result["fairness"]["groups"][f"group={name}"]["accuracy"])
    assert frame.difference() == pytest.approx(run.result["fairness"]["columns"]["group"]["accuracy_gap"])
    assert any(FILE in row["how"] for row in run.result["released"])


def test_rows_are_written_only_where_a_study_asks(small_study: Callable[..., Study], tmp_path: Path) -> None:
    run = accord.run(small_study(data=DATA), tmp_path / "run")
    assert not (run.folder / FILE).exists()
    assert run.result is not None
    assert not any(FILE in row["how"] for row in run.result["released"])


def test_numbers_are_written_as_numbers(tmp_path: Path) -> None:
    run = accord.run(regressions.study(evaluation={"predictions": True}), tmp_path / "run")
    rows = pandas.read_parquet(run.folder / FILE)
    assert run.result is not None
    error = rows["prediction"] - rows["label"]
    assert float((error**2).mean()) == pytest.approx(run.result["test"]["loss"])
    assert not any(name.startswith("probability") for name in rows)
    assert set(np.unique(rows["group.group"])) == set(prepare(run.study).groups["group"].names)


def test_without_pyarrow_the_run_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"evaluation\.predictions needs the package pyarrow"):
        check_predictions(Evaluation(predictions=True))
    check_predictions(Evaluation())
