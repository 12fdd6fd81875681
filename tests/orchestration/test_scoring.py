"""Scores of a regression against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import regressions
from accord.fairness.groups import Grouping
from accord.orchestration.scoring import group_scores, scores_of
from accord.program.evaluate import evaluate
from accord.records.round_record import TestScores
from accord.tasks.base import Evaluated
from accord.tasks.regression import REGRESSION


def test_scores_are_scikit_learns() -> None:
    made, task = regressions.federation([30]), regressions.task()
    evaluated = evaluate(task, task.init(torch.float64), made.data.test, 7)
    y = made.data.test.y.double().numpy()
    predicted = task.predict(task.init(torch.float64), made.data.test.x).detach().numpy()[:, 0]
    told = scores_of(evaluated)
    assert told["loss"] == pytest.approx(mean_squared_error(y, predicted), rel=1e-12)
    assert told["rmse"] == pytest.approx(mean_squared_error(y, predicted) ** 0.5, rel=1e-12)
    assert told["mae"] == pytest.approx(mean_absolute_error(y, predicted), rel=1e-12)
    assert told["r2"] == pytest.approx(r2_score(y, predicted), rel=1e-12)
    assert (told["accuracy"], told.n) == (None, 60)
    assert list(told.as_json()) == ["accuracy", "loss", "n", "rmse", "mae", "r2"]


def test_the_batch_size_changes_nothing() -> None:
    made, task = regressions.federation([30]), regressions.task()
    first, second = (scores_of(evaluate(task, task.init(), made.data.test, size)) for size in (1, 1000))
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-6)


def test_targets_that_do_not_vary_have_no_r2() -> None:
    numbers = np.array([1.0, 3.0])
    told = scores_of(Evaluated(REGRESSION, np.full(2, 2.0), numbers, (numbers - 2.0) ** 2))
    assert told == TestScores({"rmse": 1.0, "loss": 1.0, "mae": 1.0, "r2": None}, 2)


def test_a_prediction_that_is_no_number_is_the_worst() -> None:
    evaluated = Evaluated(REGRESSION, np.zeros(2), np.array([np.nan, 1.0]), np.array([np.nan, 1.0]))
    assert evaluated.row_scores.tolist() == [np.inf, 1.0]
    told = scores_of(evaluated)
    assert (told["loss"], told["rmse"], told["mae"]) == (None, None, None)
    sex = Grouping("sex", ("f", "m", "x"), np.array([0, 1]))
    assert group_scores({"sex": sex}, evaluated.row_scores) == {"sex": {"m": 1.0}}


def test_scores_of_a_classification_have_their_three_keys() -> None:
    assert TestScores({"accuracy": 0.5, "loss": 1.0}, 2).as_json() == {"accuracy": 0.5, "loss": 1.0, "n": 2}
