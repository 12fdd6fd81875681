"""Metrics of one's own: tried before a run, in its result under their own names, and shown."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef, top_k_accuracy_score

import accord
from accord.config.schema import Study
from accord.core.errors import Fault, StudyError
from accord.records.run_result import read_result
from accord.reports.scoring import scoring
from accord.tasks.base import Evaluated
from accord.tasks.custom import custom_scores
from accord.tasks.kinds import kind_of_classes

HERE = "my_metrics"


def mcc(targets: Any, predictions: Any, probabilities: Any) -> float:
    return float(matthews_corrcoef(targets, predictions))


def top2(targets: Any, predictions: Any, probabilities: Any) -> float:
    return float(top_k_accuracy_score(targets, probabilities, k=2, labels=np.arange(probabilities.shape[1])))


def pinball(targets: Any, predictions: Any, probabilities: Any) -> float:
    assert probabilities is None
    return float(np.maximum(0.9 * (targets - predictions), 0.1 * (predictions - targets)).mean())


def sorting(targets: Any, predictions: Any, probabilities: Any) -> float:
    targets.sort()
    return float(targets[0])


def failing(targets: Any, predictions: Any, probabilities: Any) -> float:
    if len(targets) > 8:
        raise ZeroDivisionError("no rows of the class")
    return 0.0


def wordy(targets: Any, predictions: Any, probabilities: Any) -> Any:
    return "good"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


def evaluated(rows: int, classes: int) -> Evaluated:
    rng = np.random.default_rng(1)
    if not classes:
        return Evaluated(kind_of_classes(0), rng.normal(size=rows), rng.normal(size=rows), rng.random(rows))
    probabilities = rng.dirichlet(np.ones(classes), rows)
    extra = {"probabilities": probabilities}
    targets = rng.integers(classes, size=rows)
    return Evaluated(kind_of_classes(classes), targets, probabilities.argmax(1), rng.random(rows), extra)


def test_a_metric_is_the_functions_value() -> None:
    rows = evaluated(40, 3)
    first, second = custom_scores({"mcc": f"{HERE}:mcc", "top2": f"{HERE}:top2"}, 3)
    assert first.of(rows) == pytest.approx(matthews_corrcoef(rows.targets, rows.predictions))
    two = np.argsort(rows.extra["probabilities"], axis=1)[:, -2:]
    assert second.of(rows) == pytest.approx(np.mean([t in pair for t, pair in zip(rows.targets, two, strict=True)]))
    numbers = evaluated(40, 0)
    (loss,) = custom_scores({"pinball": f"{HERE}:pinball"}, 0)
    apart = numbers.targets - numbers.predictions
    assert loss.of(numbers) == pytest.approx(np.where(apart > 0, 0.9 * apart, -0.1 * apart).mean())


def test_rows_stay_as_they_are() -> None:
    rows = evaluated(40, 3)
    before = rows.targets.copy()
    (score,) = custom_scores({"least": f"{HERE}:sorting"}, 3)
    assert score.of(rows) == 0.0
    assert (rows.targets == before).all()


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("accuracy", "mcc", "results have a 'accuracy' already"),
        ("n", "mcc", "results have a 'n' already"),
        ("mcc", "nothing", "has no function 'nothing'"),
        ("mcc", "wordy", "fails when it is tried on 8 rows: ValueError"),
        ("mcc", "pinball", "fails when it is tried on 8 rows: AssertionError"),
    ],
)
def test_what_is_no_metric_is_refused_before_a_run(name: str, function: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        custom_scores({name: f"{HERE}:{function}"}, 3)


def test_one_that_fails_at_the_end_says_how_to_go_on() -> None:
    (score,) = custom_scores({"mcc": f"{HERE}:failing"}, 3)
    with pytest.raises(Fault, match=r"evaluation.metrics.mcc .* no rows of the class; mend it, and resume the run"):
        score.of(evaluated(40, 3))


def test_it_stands_in_the_result_under_its_own_name(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(evaluation={"metrics": {"mcc": f"{HERE}:mcc"}}, program={"name": "fedavg", "rounds": 1})
    accord.run(study, tmp_path / "run")
    result = read_result(tmp_path / "run")
    assert result is not None
    test = json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    assert -1 <= test["mcc"] <= 1
    (own,) = (score for score in scoring(result).final if score.name == "mcc")
    assert own in scoring(result).known_final(result)
    assert "mcc" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
