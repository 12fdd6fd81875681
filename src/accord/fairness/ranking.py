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
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import DataError
from accord.fairness.groups import Integers
from accord.fairness.measures import Floats

MOST_CLASSES = 100
"""With more classes than this, probabilities are not kept, since their memory grows with rows times classes."""


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
    recalls = [float((predictions[labels == label] == label).mean()) for label in present]
    auc, precision = math.nan, math.nan
    if probabilities is not None and np.isfinite(probabilities).all():
        binary = positive is not None and probabilities.shape[1] == 2
        classes = [int(positive)] if binary and positive is not None else present.tolist()
        auc = float(np.mean([roc_auc(labels == label, probabilities[:, label]) for label in classes]))
        precision = float(np.mean([average_precision(labels == label, probabilities[:, label]) for label in classes]))
    return Ranking(float(np.mean(recalls)), auc, precision, one_class=False)


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
