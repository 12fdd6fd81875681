"""Balanced accuracy and areas under curves against scikit-learn; ties, several classes, rows of one class."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import label_binarize

from accord.core.errors import DataError
from accord.fairness.ranking import average_precision, rank, roc_auc

derandomised = settings(derandomize=True, deadline=None, max_examples=150)


@derandomised
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60))
def test_areas_are_scikit_learns_ties_included(rows: list[tuple[bool, int]]) -> None:
    condition = np.array([positive for positive, _ in rows])
    scores = np.array([score for _, score in rows]) / 6  # seven values: many ties
    if condition.any():
        assert average_precision(condition, scores) == pytest.approx(average_precision_score(condition, scores))
    if condition.any() and not condition.all():
        assert roc_auc(condition, scores) == pytest.approx(roc_auc_score(condition, scores))


@derandomised
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_of_several_classes_each_against_the_rest(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=40)])
    probabilities = rng.dirichlet(np.ones(classes), size=len(labels)).round(2)
    probabilities /= probabilities.sum(1, keepdims=True)
    predictions = probabilities.argmax(1)
    found = rank(labels, predictions, probabilities, None)
    if classes > 2:  # a class that counts as positive changes nothing then
        assert rank(labels, predictions, probabilities, positive=1) == found
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predictions))
    one_hot = label_binarize(labels, classes=list(range(classes))) if classes > 2 else np.eye(2)[labels]
    assert found.roc_auc == pytest.approx(roc_auc_score(one_hot, probabilities, average="macro"))
    assert found.average_precision == pytest.approx(average_precision_score(one_hot, probabilities, average="macro"))


@pytest.mark.parametrize("positive", [0, 1])
def test_of_two_classes_the_positive_one_is_ranked(positive: int) -> None:
    rng = np.random.default_rng(1)
    labels, share = rng.integers(2, size=50), rng.random(50)
    probabilities = np.stack([1 - share, share], axis=1)
    found = rank(labels, probabilities.argmax(1), probabilities, positive)
    expected = average_precision_score(labels == positive, probabilities[:, positive])
    assert found.average_precision == pytest.approx(expected)
    assert found.roc_auc == pytest.approx(roc_auc_score(labels, share))


def test_classes_without_a_row_are_left_out() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.4, 0.5, 0.1], [0.1, 0.7, 0.2]])
    found = rank(labels, probabilities.argmax(1), probabilities, None)
    expected = [roc_auc_score(labels == label, probabilities[:, label]) for label in (0, 1)]
    assert found.roc_auc == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("labels", [[1, 1, 1], [0]])
def test_rows_of_one_class_cannot_be_ranked(labels: list[int]) -> None:
    n = len(labels)
    found = rank(np.array(labels), np.zeros(n, dtype=np.int64), np.full((n, 2), 0.5), 1)
    expected = {"balanced_accuracy": None, "roc_auc": None, "average_precision": None, "one_class": True}
    assert found.as_json() == expected


def test_no_rows_are_no_class() -> None:
    found = rank(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 2)), 1)
    assert (math.isnan(found.roc_auc), found.one_class) == (True, False)
    assert math.isnan(average_precision(np.zeros(2, dtype=np.bool_), np.zeros(2)))
    assert math.isnan(roc_auc(np.ones(2, dtype=np.bool_), np.zeros(2)))


@pytest.mark.parametrize("probabilities", [None, np.array([[0.5, 0.5], [math.nan, 0.5]])])
def test_without_probabilities_there_is_balanced_accuracy_alone(probabilities: np.ndarray | None) -> None:
    found = rank(np.array([0, 1]), np.array([0, 0]), probabilities, 1)
    assert found.as_json() == {
        "balanced_accuracy": 0.5,
        "roc_auc": None,
        "average_precision": None,
        "one_class": False,
    }


def test_unlike_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="as many rows"):
        rank(np.array([0, 1]), np.array([0, 0]), np.zeros((3, 2)), 1)
