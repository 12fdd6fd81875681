"""Intervals of areas and of balanced accuracy: beside a bootstrap, in coverage, and never of zero width."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from accord.fairness.ranking import auc_interval, balanced_accuracy_interval, ranking_intervals


def scored(rng: np.random.Generator, positives: int, negatives: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([1, 0], [positives, negatives])
    return labels, rng.normal(apart * labels, 1.0)


@pytest.mark.parametrize(("apart", "positives", "negatives"), [(0.5, 200, 100), (1.2, 100, 250), (2.0, 200, 200)])
def test_an_areas_interval_is_near_the_bootstraps(apart: float, positives: int, negatives: int) -> None:
    rng = np.random.default_rng(3)
    labels, scores = scored(rng, positives, negatives, apart)
    resampled = []
    for _ in range(600):
        # Resampled within each label, as the numbers of rows are fixed.
        rows = np.concatenate(
            [rng.integers(positives, size=positives), positives + rng.integers(negatives, size=negatives)]
        )
        resampled.append(roc_auc_score(labels[rows], scores[rows]))
    found = auc_interval(roc_auc_score(labels, scores), positives, negatives, 0.95)
    assert found == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.02)


def test_an_areas_interval_holds_the_true_area_as_often_as_promised() -> None:
    rng, true = np.random.default_rng(5), (1 + math.erf(1.2 / 2)) / 2
    covered = 0
    for _ in range(400):
        labels, scores = scored(rng, 25, 40, 1.2)
        ends = auc_interval(roc_auc_score(labels, scores), 25, 40, 0.95)
        assert ends is not None
        covered += ends[0] <= true <= ends[1]
    assert 0.92 <= covered / 400 <= 0.99


@pytest.mark.parametrize("rows", [1, 20, 1000])
def test_no_interval_is_of_zero_width(rows: int) -> None:
    perfect, inverted = auc_interval(1.0, rows, rows, 0.95), auc_interval(0.0, rows, rows, 0.95)
    assert perfect is not None
    assert inverted is not None
    assert perfect[1] == 1.0
    assert perfect[0] < 1.0
    assert inverted == pytest.approx((0.0, 1 - perfect[0]))
    exact = balanced_accuracy_interval(np.array([rows, 0]), np.array([rows, rows]), 0.95)
    assert exact is not None
    assert exact[0] < 0.5 < exact[1]


def test_the_ends_solve_the_score_equation() -> None:
    """Hanley and McNeil's variance in its own form, Q1 = A / (2 - A) and Q2 = 2 A^2 / (1 + A)."""
    positives, negatives, area = 30, 70, 0.83
    ends = auc_interval(area, positives, negatives, 0.95)
    assert ends is not None
    mean = (positives + negatives) / 2 - 1
    for end in ends:
        q1, q2 = end / (2 - end), 2 * end**2 / (1 + end)
        variance = (end * (1 - end) + mean * (q1 - end**2) + mean * (q2 - end**2)) / (positives * negatives)
        assert abs(area - end) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)


def test_balanced_accuracys_interval_is_near_the_bootstraps() -> None:
    rng, rows = np.random.default_rng(7), np.array([120, 60, 200])
    correct = np.array([100, 33, 150])
    resampled = (rng.binomial(rows, correct / rows, size=(20_000, 3)) / rows).mean(axis=1)
    found = balanced_accuracy_interval(correct, rows, 0.95)
    assert found == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.01)


def test_balanced_accuracys_interval_by_hand() -> None:
    """Recalls 0.8 and 0.6 of 50 rows each, whose Wilson ends are 0.6696 to 0.8876 and 0.4618 to 0.7239."""
    found = balanced_accuracy_interval(np.array([40, 30, 0]), np.array([50, 50, 0]), 0.95)
    below, above = math.hypot(0.8 - 0.66963, 0.6 - 0.46181) / 2, math.hypot(0.88758 - 0.8, 0.72386 - 0.6) / 2
    assert found == pytest.approx((0.7 - below, 0.7 + above), abs=2e-4)


def test_what_is_undefined_has_no_interval() -> None:
    one = ranking_intervals(math.nan, np.array([3, 0]), np.array([5, 0]), 1, 0.95)
    assert one == {"balanced_accuracy": None, "roc_auc": None}
    assert auc_interval(math.nan, 5, 5, 0.95) is None
    assert auc_interval(0.5, 0, 5, 0.95) is None
    with pytest.raises(ValueError, match="confidence"):
        auc_interval(0.5, 5, 5, 1.0)


def test_of_two_classes_the_area_is_the_positive_ones_and_of_more_the_mean_over_them() -> None:
    rows = np.array([30, 70])
    assert ranking_intervals(0.8, rows, rows, 1, 0.95)["roc_auc"] == auc_interval(0.8, 70, 30, 0.95)
    each = [auc_interval(0.8, n, 60 - n, 0.95) for n in (10, 20, 30)]
    for positive in (None, 1):  # one positive class of three changes nothing
        three = ranking_intervals(0.8, np.array([9, 9, 9]), np.array([10, 20, 30]), positive, 0.95)["roc_auc"]
        assert three == pytest.approx(np.mean([ends for ends in each if ends is not None], axis=0))
