"""Calibration against a loop over bins, and against scikit-learn."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from accord.core.errors import DataError
from accord.fairness.calibration import CalibrationCounts, RowScores, calibration


def made(n: int, seed: int, classes: int = 4) -> tuple[RowScores, Any, Any]:
    """Scores of n rows, with the probabilities and labels they are of."""
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.full(classes, 0.7), size=n)
    label = rng.integers(classes, size=n)
    picked = probability.argmax(1)
    brier = ((probability - np.eye(classes)[label]) ** 2).sum(1)
    loss = -np.log(np.maximum(probability[np.arange(n), label], 1e-300))
    return RowScores(picked == label, probability.max(1), brier, loss), probability, label


def naive_errors(correct: Any, confidence: Any, bins: int) -> tuple[float, float]:
    """Guo et al. 2017, eq. 3 and 5, bin by bin."""
    expected, largest = 0.0, 0.0
    for b in range(bins):
        inside = [i for i, p in enumerate(confidence) if (p > b / bins or b == 0) and p <= (b + 1) / bins]
        if inside:
            gap = abs(sum(correct[i] for i in inside) / len(inside) - sum(confidence[i] for i in inside) / len(inside))
            expected += len(inside) / len(confidence) * gap
            largest = max(largest, gap)
    return expected, largest


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 10**6))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_agrees_with_a_loop_over_bins(n: int, bins: int, seed: int) -> None:
    rows, _, _ = made(n, seed)
    told = calibration(rows, bins).measures(0)
    assert told is not None
    expected, largest = naive_errors(rows.correct, rows.confidence, bins)
    assert told["expected_calibration_error"] == pytest.approx(expected, abs=1e-12)
    assert told["maximum_calibration_error"] == pytest.approx(largest, abs=1e-12)
    assert sum(told["reliability"]["n"]) == n


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_agrees_with_scikit_learn(bins: int) -> None:
    rows, probability, label = made(400, 3)
    told = calibration(rows, bins).measures(0)
    assert told is not None
    right, sure = calibration_curve(rows.correct, rows.confidence, n_bins=bins)
    bin_of = told["reliability"]
    assert [value for value in bin_of["accuracy"] if value is not None] == pytest.approx(right.tolist())
    assert [value for value in bin_of["confidence"] if value is not None] == pytest.approx(sure.tolist())
    assert told["log_loss"] == pytest.approx(log_loss(label, probability, labels=range(4)))
    ours = ((probability - np.eye(4)[label]) ** 2).sum(1).mean()
    assert told["brier"] == pytest.approx(ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        two, _, label = made(300, 4, classes=2)
    # scikit-learn's score of two classes counts one of the two equal halves.
    probability = np.where(two.correct == (label == 1), two.confidence, 1 - two.confidence)
    assert calibration(two, 3).measures(0)["brier"] == pytest.approx(2 * brier_score_loss(label, probability))  # type: ignore[index]


def test_a_confidence_on_an_edge_belongs_below_it() -> None:
    sure = np.array([0.0, 0.5, 0.5000001, 1.0])
    sums = calibration(RowScores(np.ones(4, dtype=bool), sure, sure, sure), 2)
    assert sums.n.tolist() == [[2, 2]]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 10**6))
@settings(derandomize=True, deadline=None, max_examples=30)
def test_sums_add_and_groups_are_as_if_alone(first: int, second: int, seed: int) -> None:
    n = first + second
    rows, _, _ = made(n, seed)
    codes = np.random.default_rng(seed).integers(3, size=n)

    def part(at: Any, groups: int = 3) -> CalibrationCounts:
        own = RowScores(rows.correct[at], rows.confidence[at], rows.brier[at], rows.loss[at])
        return calibration(own, 5, codes[at] if groups == 3 else None, groups)

    whole, added = part(slice(None)), part(slice(first)) + part(slice(first, None))
    for of in ("n", "correct", "confidence", "brier", "loss"):
        assert getattr(whole, of) == pytest.approx(getattr(added, of))
    for group in range(3):
        alone = part(codes == group, groups=1).measures(0)
        told = whole.measures(group)
        assert (alone is None) == (told is None) == (not (codes == group).any())
        if alone is not None and told is not None:
            assert told["expected_calibration_error"] == pytest.approx(alone["expected_calibration_error"])
            assert told["reliability"]["n"] == alone["reliability"]["n"]


def test_what_is_no_number_is_none() -> None:
    ones = np.ones(2)
    rows = RowScores(np.array([True, False]), np.array([np.nan, 0.7]), ones, ones)
    assert calibration(rows, 4).measures(0) is None
    rows = RowScores(np.array([True, False]), np.array([0.6, 0.7]), ones, np.array([1.0, np.inf]))
    told = calibration(rows, 4).measures(0)
    assert told is not None
    assert told["log_loss"] is None
    assert told["reliability"]["confidence"][0] is None


def test_what_does_not_belong_together_is_refused() -> None:
    rows, _, _ = made(5, 0)
    scores = {name: getattr(rows, name) for name in ("correct", "confidence", "brier", "loss")}
    for name, values in scores.items():
        for wrong in (values[:3], np.append(values, values[:1])):
            with pytest.raises(DataError, match="not as many of every score"):
                RowScores(**(scores | {name: wrong}))
    with pytest.raises(DataError, match="not as many of every score"):
        RowScores(rows.correct, rows.confidence, rows.brier[:3], rows.loss[:3])
    with pytest.raises(DataError, match="they must be as many"):
        calibration(rows, 3, np.zeros(4, dtype=np.int64))
    with pytest.raises(DataError, match="cannot be added"):
        calibration(rows, 3) + calibration(rows, 4)
    with pytest.raises(DataError, match="cannot be added"):
        calibration(rows, 4) + calibration(rows, 3)
    with pytest.raises(DataError, match="do not belong together"):
        CalibrationCounts(np.ones((1, 2), dtype=np.int64), *(np.ones(2) for _ in range(4)))  # type: ignore[arg-type]
    sums = {name: getattr(calibration(rows, 3), name) for name in ("n", "correct", "confidence", "brier", "loss")}
    for name, values in sums.items():
        for wrong in (values[..., :0], values[None], np.repeat(values, 2, axis=-1)):
            with pytest.raises(DataError, match="do not belong together"):
                CalibrationCounts(**(sums | {name: wrong}))
    with pytest.raises(ValueError, match="bins must be > 0"):
        calibration(rows, 0)
