"""A regression's losses and scores against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score, root_mean_squared_error

from accord.fairness.errors_by_group import ErrorSums
from accord.fairness.groups import Grouping
from accord.tasks.base import Evaluated
from accord.tasks.regression import REGRESSION

TARGETS = np.random.default_rng(0).normal(size=40)
OUTPUTS = TARGETS + np.random.default_rng(1).normal(size=40)


def evaluated() -> Evaluated:
    outputs, targets = torch.from_numpy(OUTPUTS)[:, None], torch.from_numpy(TARGETS)
    predictions = REGRESSION.answer(outputs, targets, False)["predictions"].numpy()
    return Evaluated(REGRESSION, TARGETS, predictions, REGRESSION.loss(outputs, targets).numpy())


def test_scores_are_scikit_learns() -> None:
    seen = evaluated()
    assert seen.value("mse") == pytest.approx(mean_squared_error(TARGETS, OUTPUTS))
    assert seen.value("rmse") == pytest.approx(root_mean_squared_error(TARGETS, OUTPUTS))
    assert seen.value("mae") == pytest.approx(mean_absolute_error(TARGETS, OUTPUTS))
    assert seen.value("r2") == pytest.approx(r2_score(TARGETS, OUTPUTS))


def test_targets_that_do_not_vary_have_no_r2() -> None:
    seen = Evaluated(REGRESSION, np.ones(3), np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 4.0]))
    assert seen.value("r2") is None


def test_a_row_that_is_no_number_is_the_worst() -> None:
    seen = Evaluated(REGRESSION, np.zeros(2), np.array([math.nan, 1.0]), np.array([math.nan, 1.0]))
    assert seen.row_scores.tolist() == [math.inf, 1.0]
    assert seen.value("mse") is None


def test_groups_sum_their_own_errors() -> None:
    grouping = Grouping("g", ("a", "b"), np.arange(20) % 2)
    sums = REGRESSION.group_sums(grouping, evaluated(), np.arange(20, 40))
    assert isinstance(sums, ErrorSums)
    assert sums.error.sum() == pytest.approx((OUTPUTS - TARGETS)[20:].sum())
