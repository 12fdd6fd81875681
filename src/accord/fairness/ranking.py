"""How well a classifier's probabilities rank rows, and how well it predicts every class.

Accuracy is high for a model that always predicts the most common class. These measures are not:

    balanced accuracy  = mean over classes of the share of the class's rows predicted as it
    ROC AUC            = P(score of a positive row > score of a negative row), a tie counting half
    average precision  = sum over thresholds of (recall_k - recall_(k-1)) precision_k

The last is the area under the precision-recall curve without interpolation. Brodersen et al. 2010; Hanley and McNeil
1982; Davis and Goadrich 2006.

A model that ranks at random has a ROC AUC of 0.5, and an average precision of the share of positive rows. A score is
the probability of the positive class. With more than two classes, or no positive class, each class in turn is the
positive one against the rest, and the mean over classes is taken (one-vs-rest, macro). A class that is all of the
rows, or none, has no curve and is left out. Values are those of scikit-learn's `balanced_accuracy_score`,
`roc_auc_score` and `average_precision_score` where these have one.

Both of the first two have intervals that are never of zero width:

    R. G. Newcombe. Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2:
    asymptotic methods and evaluation. Statistics in Medicine 25(4), 2006, method 5.
    G. Y. Zou, A. Donner. Construction of confidence limits about effect measures. Statistics in Medicine 27(10), 2008.

The area's interval holds each A with |A - a| <= z sqrt(V(A)), as Wilson's holds each rate. V is Hanley and McNeil's
variance for exponential scores, with the mean of both numbers of rows in the place of each:

    V(A) = A (1 - A) (1 + ((P + N) / 2 - 1) ((1 - A) / (2 - A) + A / (1 + A))) / (P N)

DeLong's variance (1988) is 0 where all positive rows are ranked above all others, whatever their number.

Balanced accuracy is a mean of recalls of separate rows. Their Wilson intervals are combined as in Zou and Donner: with
recalls p_k in (l_k, u_k) of K classes, the ends are p - sqrt(sum (p_k - l_k)^2) / K and, upwards,
p + sqrt(sum (u_k - p_k)^2) / K.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core import checks
from accord.core.errors import DataError
from accord.fairness.groups import Integers
from accord.fairness.measures import Floats, Interval
from accord.fairness.rates import wilson

MOST_CLASSES = 100
"""With more classes than this, probabilities are not kept, since their memory grows with rows times classes."""
_HALVINGS = 60  # of the unit interval, more than a float64 has bits


@dataclass(frozen=True)
class Ranking:
    """The measures of some rows.

    Attributes:
        balanced_accuracy: in [0, 1], or NaN where all rows have one label, or there are none.
        roc_auc: in [0, 1], or NaN there too, and where probabilities are unknown.
        average_precision: in (0, 1], or NaN as for `roc_auc`.
        one_class: whether all rows have one label, so that there is nothing to rank.
    """

    balanced_accuracy: float
    roc_auc: float
    average_precision: float
    one_class: bool

    def as_json(self) -> dict[str, float | bool | None]:
        """Returns the measures as JSON-ready values."""
        values = {name: getattr(self, name) for name in ("balanced_accuracy", "roc_auc", "average_precision")}
        return {name: value if math.isfinite(value) else None for name, value in values.items()} | {
            "one_class": self.one_class
        }


def rank(labels: Integers, predictions: Integers, probabilities: Floats | None, positive: int | None) -> Ranking:
    """Measures how well n rows are ranked.

    Args:
        labels: shape `[n]`, each in `[0, classes)`.
        predictions: shape `[n]`.
        probabilities: shape `[n, classes]`, or None where they are unknown.
        positive: the class that counts as positive, used only with two classes.

    Raises:
        DataError: the lengths differ.

    >>> sure = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    >>> found = rank(np.array([0, 1, 1]), np.array([0, 0, 1]), sure, positive=1)
    >>> found.balanced_accuracy, found.roc_auc, found.average_precision
    (0.75, 1.0, 1.0)
    """
    if labels.shape != predictions.shape or (probabilities is not None and len(probabilities) != len(labels)):
        raise DataError("ranking: labels, predictions and probabilities must be of as many rows")
    # Only classes with rows: the others have no recall and no curve.
    present = np.unique(labels)
    if len(present) < 2:
        return Ranking(math.nan, math.nan, math.nan, one_class=len(present) == 1)
    rows = np.array([(labels == label).sum() for label in present])
    correct = np.array([(predictions[labels == label] == label).sum() for label in present])
    auc, precision = math.nan, math.nan
    if probabilities is not None and np.isfinite(probabilities).all():
        binary = positive is not None and probabilities.shape[1] == 2
        classes = [int(positive)] if binary and positive is not None else present.tolist()
        auc = float(np.mean([roc_auc(labels == label, probabilities[:, label]) for label in classes]))
        precision = float(np.mean([average_precision(labels == label, probabilities[:, label]) for label in classes]))
    return Ranking(balanced_accuracy(correct, rows), auc, precision, one_class=False)


def balanced_accuracy(correct: NDArray[Any], rows: NDArray[Any]) -> float:
    """Averages the recalls of the classes that have rows, or returns NaN where fewer than two have.

    Args:
        correct: rows of each class that are predicted as it, shape `[classes]`.
        rows: rows of each class, shape `[classes]`.

    >>> balanced_accuracy(np.array([3, 1, 0]), np.array([4, 2, 0]))
    0.625
    """
    there = rows > 0
    return float((correct[there] / rows[there]).mean()) if there.sum() > 1 else math.nan


def matrix_measures(matrix: Floats | None) -> dict[str, Any]:
    """Returns what a confusion matrix gives: its counts, balanced accuracy, and whether its rows are of one class.

    Args:
        matrix: rows by true and predicted label, shape `[classes, classes]`, or None where it is unknown.
    """
    if matrix is None or not matrix.any():
        return {"confusion": None, "balanced_accuracy": None, "one_class": False}
    rows = matrix.sum(1)
    found = balanced_accuracy(matrix.diagonal(), rows)
    return {
        "confusion": np.rint(matrix).astype(int).tolist(),
        "balanced_accuracy": found if math.isfinite(found) else None,
        "one_class": int((rows > 0).sum()) == 1,
    }


def roc_auc(condition: NDArray[np.bool_], scores: Floats) -> float:
    """Computes the area under the ROC curve from ranks (Mann and Whitney 1947), or NaN where all rows are alike.

    With R the sum of the positive rows' ranks, where ties share theirs, AUC = (R - P(P + 1)/2) / (P N).

    Args:
        condition: whether each row is positive, shape `[n]`.
        scores: higher for rows predicted more likely positive, shape `[n]`.
    """
    positives = int(condition.sum())
    negatives = len(condition) - positives
    if not positives or not negatives:
        return math.nan
    _, code, ties = np.unique(scores, return_inverse=True, return_counts=True)
    # Ties share the mean of their ranks, as in scipy's rankdata, whose import takes a second.
    mean_ranks = np.cumsum(ties) - (ties - 1) / 2
    ranks = float(mean_ranks[code][condition].sum())
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def average_precision(condition: NDArray[np.bool_], scores: Floats) -> float:
    """Computes the area under the precision-recall curve without interpolation, or NaN without a positive row.

    Args:
        condition: whether each row is positive, shape `[n]`.
        scores: higher for rows predicted more likely positive, shape `[n]`.
    """
    if not condition.any():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    found, sorted_scores = np.cumsum(condition[order]), scores[order]
    # Rows of equal score cross the threshold together, so only the last of them is a point of the curve.
    last = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))
    true_positives = found[last]
    precision = true_positives / (last + 1)
    steps = np.diff(true_positives, prepend=0) / true_positives[-1]
    return float((steps * precision).sum())


def auc_interval(area: float, positives: int, negatives: int, confidence: float) -> Interval | None:
    """Computes the interval of an area under the ROC curve (Newcombe 2006), None where there is no area.

    Args:
        area: in [0, 1], or NaN.
        positives: number of positive rows.
        negatives: number of the other rows.
        confidence: in (0, 1).

    >>> low, high = auc_interval(0.8, 50, 50, 0.95)
    >>> round(low, 3), round(high, 3)
    (0.697, 0.871)
    """
    checks.open_unit(confidence=confidence)
    if not math.isfinite(area) or positives < 1 or negatives < 1:
        return None
    # The variance is the same for A and 1 - A, so the upper end is the lower one of the other ranking.
    low, other = (_lower(each, positives, negatives, confidence) for each in (area, 1 - area))
    return low, 1 - other


def _lower(area: float, positives: int, negatives: int, confidence: float) -> float:
    z, mean = NormalDist().inv_cdf((1 + confidence) / 2), (positives + negatives) / 2 - 1
    low, high = 0.0, area
    # Invariant: `low` is outside of the interval, or 0, and `high` inside of it, or the area itself.
    for _ in range(_HALVINGS):
        a = (low + high) / 2
        variance = a * (1 - a) * (1 + mean * ((1 - a) / (2 - a) + a / (1 + a))) / (positives * negatives)
        if area - a > z * math.sqrt(variance):
            low = a
        else:
            high = a
    return low


def balanced_accuracy_interval(correct: Integers, rows: Integers, confidence: float) -> Interval | None:
    """Computes the interval of the mean recall of the classes that have rows. None with fewer than two such classes.

    Args:
        correct: rows of each class that are predicted as it, shape `[classes]`.
        rows: rows of each class, shape `[classes]`.
        confidence: in (0, 1).

    >>> low, high = balanced_accuracy_interval(np.array([40, 30]), np.array([50, 50]), 0.95)
    >>> round(low, 3), round(high, 3)
    (0.605, 0.776)
    """
    right, n = correct[rows > 0], rows[rows > 0]
    if len(n) < 2:
        return None
    recalls, (low, high) = right / n, wilson(right, n, confidence)
    mean = float(recalls.mean())
    below, above = (math.sqrt(float(((end - recalls) ** 2).sum())) / len(n) for end in (low, high))
    return max(0.0, mean - below), min(1.0, mean + above)


def ranking_intervals(
    area: float, correct: Integers, rows: Integers, positive: int | None, confidence: float
) -> dict[str, Interval | None]:
    """Computes the intervals of a group's `balanced_accuracy` and `roc_auc`.

    With more than two classes, or no positive one, the area is the mean over classes, each taken against the rest. The
    interval's ends are then the means of theirs at the mean area, as if the classes' areas were fully correlated,
    which is wide enough whatever their correlation.

    Args:
        area: the group's `roc_auc`, or NaN.
        correct: its rows of each class that are predicted as it, shape `[classes]`.
        rows: its rows of each class, shape `[classes]`.
        positive: the class that counts as positive.
        confidence: in (0, 1).
    """
    total, present = int(rows.sum()), np.flatnonzero(rows)
    classes = [positive] if positive is not None and len(rows) == 2 else present.tolist()
    ends = [auc_interval(area, int(rows[k]), total - int(rows[k]), confidence) for k in classes]
    known = [each for each in ends if each is not None]
    mean_ends: Interval | None = None
    if known and len(known) == len(ends):
        mean_ends = float(np.mean([low for low, _ in known])), float(np.mean([high for _, high in known]))
    return {"balanced_accuracy": balanced_accuracy_interval(correct, rows, confidence), "roc_auc": mean_ends}
