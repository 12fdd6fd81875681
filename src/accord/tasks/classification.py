"""Classification: predicts one of a set of labels, by the largest of as many outputs (logits).

`Evaluated.extra` has `confidence`, the probability of the predicted label, and `brier`, the squared distance of all
probabilities to the label's, both of shape `[n]`. On request it also has all `probabilities`, shape `[n, classes]`, of
at most 100 classes.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from accord.fairness.calibration import RowScores
from accord.fairness.groups import GroupCounts, Grouping, Integers, count
from accord.fairness.ranking import MOST_CLASSES, Ranking, balanced_accuracy, rank
from accord.fairness.rates import RATES_BY_GROUP
from accord.tasks.base import Evaluated, Score, TaskKind, Words

if TYPE_CHECKING:  # records and reports read kinds, and must not wait for PyTorch to load
    from torch import Tensor


def cross_entropy(logits: "Tensor", labels: "Tensor") -> "Tensor":
    """Computes the cross-entropy of each sample in nats, shape `[batch]`.

    Args:
        logits: shape `[batch, classes]`.
        labels: int64, shape `[batch]`.
    """
    # Imported here, since records and reports read this module and must not wait for PyTorch.
    from torch.nn import functional as F

    return F.cross_entropy(logits, labels, reduction="none")


def _answer(logits: "Tensor", labels: "Tensor", keep_probabilities: bool) -> "Mapping[str, Tensor]":
    """Returns the predicted label, its probability, and the squared distance of all probabilities to the label's."""
    predictions, probabilities = logits.argmax(1), logits.softmax(1)
    # |p - e_y|^2 = |p|^2 - 2 p_y + 1, which needs no one-hot vector.
    brier = probabilities.square().sum(1) - 2 * probabilities.gather(1, labels[:, None])[:, 0] + 1
    confidence = probabilities.gather(1, predictions[:, None])[:, 0]
    found = {"predictions": predictions, "confidence": confidence, "brier": brier}
    # Bounded, since they take rows times classes numbers.
    if keep_probabilities and logits.shape[1] <= MOST_CLASSES:
        found["probabilities"] = probabilities
    return found


def correct(evaluated: Evaluated) -> NDArray[np.bool_]:
    """Says whether each row was predicted right, shape `[n]`."""
    # Its mean over rows is the accuracy.
    return np.asarray(evaluated.predictions == evaluated.targets)


def row_probabilities(evaluated: Evaluated) -> RowScores:
    """Returns what calibration needs of each row."""
    extra = evaluated.extra
    return RowScores(correct(evaluated), extra["confidence"], extra["brier"], evaluated.losses)


def ranking(evaluated: Evaluated, rows: Integers | slice = slice(None)) -> Ranking:
    """Measures how well the model ranks some of the rows."""
    probabilities = evaluated.extra.get("probabilities")
    known = None if probabilities is None else probabilities[rows]
    return rank(evaluated.targets[rows], evaluated.predictions[rows], known, evaluated.positive)


def _majority_share(evaluated: Evaluated) -> float:
    return float(np.bincount(evaluated.targets).max() / len(evaluated))


def _balanced_accuracy(evaluated: Evaluated) -> float:
    # Without probabilities, since only labels and predictions count here.
    return rank(evaluated.targets, evaluated.predictions, None, None).balanced_accuracy


def _majority_share_of_sums(sums: Mapping[str, NDArray[Any]]) -> float:
    return float(sums["labels/n"].max() / sums["n"][0])


def _balanced_accuracy_of_sums(sums: Mapping[str, NDArray[Any]]) -> float:
    return balanced_accuracy(sums["labels/correct"], sums["labels/n"])


def _roc_auc(evaluated: Evaluated) -> float:
    return ranking(evaluated).roc_auc


def _average_precision(evaluated: Evaluated) -> float:
    return ranking(evaluated).average_precision


def _losses(evaluated: Evaluated) -> NDArray[Any]:
    return evaluated.losses


def _counts(grouping: Grouping, evaluated: Evaluated, rows: Integers | slice) -> GroupCounts:
    return count(grouping, evaluated.targets[rows], evaluated.predictions[rows], evaluated.positive)


def _rate(name: str, title: str, about: str = "", charted: bool = False) -> Score:
    return Score(name, title, about, "share", False, charted=charted)


def _gap(name: str, title: str, about: str, short: str = "") -> Score:
    if name.endswith("ratio"):
        return Score(name, title, about, "plain", short=short, bounds=(0.0, 1.0))
    return Score(name, title, about, "points", short=short)


ACCURACY = Score(
    "accuracy", "Accuracy", "Share of test rows that are right", "share", False, short="acc", of_rows=correct
)
LOSS = Score("loss", "Loss", "Mean cross-entropy in nats", "plain", of_rows=_losses, bounds=(0.0, math.inf))
MAJORITY_SHARE = Score(
    "majority_share",
    "Commonest class",
    "Share of test rows that have the commonest label: the accuracy of naming it always",
    "share",
    False,
    of_all=_majority_share,
    of_sums=_majority_share_of_sums,
)
BALANCED_ACCURACY = Score(
    "balanced_accuracy",
    "Balanced accuracy",
    "Mean over classes of the share of their rows that are right",
    "share",
    False,
    of_all=_balanced_accuracy,
    of_sums=_balanced_accuracy_of_sums,
)
ROC_AUC = Score(
    "roc_auc",
    "ROC AUC",
    "How often a positive row is ranked above a negative one; 0.5 is chance",
    "plain",
    False,
    of_all=_roc_auc,
    bounds=(0.0, 1.0),
)
AVERAGE_PRECISION = Score(
    "average_precision",
    "PR AUC",
    "Area under the precision-recall curve (average precision)",
    "plain",
    False,
    of_all=_average_precision,
    bounds=(0.0, 1.0),
)

CLASSIFICATION = TaskKind(
    name="classification",
    loss=cross_entropy,
    answer=_answer,
    scores=(ACCURACY, LOSS),
    in_tables=(ACCURACY, LOSS),
    final_scores=(MAJORITY_SHARE, BALANCED_ACCURACY, ROC_AUC, AVERAGE_PRECISION),
    beside=(),
    local=ACCURACY,
    groups=RATES_BY_GROUP,
    group_sums=_counts,
    group_scores=(
        _rate("accuracy", "Accuracy"),
        _rate("selection_rate", "Selected", "Share of all rows that are predicted positive", charted=True),
        _rate("tpr", "TPR", "Share of the positive rows that are predicted positive", charted=True),
        _rate("fpr", "FPR", "Share of the other rows that are predicted positive", charted=True),
        _rate("fnr", "FNR"),
    ),
    gap_scores=(
        _gap("accuracy_gap", "Accuracy gap", "highest accuracy less the lowest", "accuracy gap"),
        _gap(
            "demographic_parity_difference",
            "Demographic parity difference",
            "highest selection rate less the lowest",
            "parity gap",
        ),
        _gap("demographic_parity_ratio", "Demographic parity ratio", "lowest selection rate over the highest"),
        _gap(
            "equalized_odds_difference",
            "Equalised odds difference",
            "larger of the gaps in TPR and in FPR",
            "odds gap",
        ),
        _gap("equalized_odds_ratio", "Equalised odds ratio", "smaller of the ratios in TPR and in FPR"),
        _gap("equal_opportunity_difference", "Equal opportunity difference", "gap in TPR"),
    ),
    gap=Score(
        "accuracy_gap",
        "Accuracy gap",
        "Accuracy of the best group minus the worst's, in percentage points; less is fairer.",
        "points",
    ),
    worst_group=Score(
        "worst_group_accuracy",
        "Worst group",
        "Accuracy of the group that fares worst in each run.",
        "share",
        lower_is_better=False,
    ),
    compared_gaps=("accuracy_gap", "demographic_parity_difference", "equalized_odds_difference"),
    classes=True,
    words=Words(
        section="Accuracy and loss by round",
        subject="Accuracy",
        plural="accuracies",
        loss="cross-entropy",
        exact="counts on",
        of_group="Share of rows that are right",
        beside_local="",
        worst_clients="the least accurate 10%",
        released_score="accuracy",
        released_sums="counts",
        released_test="test accuracy, loss and calibration, areas under curves, the commonest label and its share",
        released_groups="group counts, calibration and confusion",
    ),
    group_ranking=(replace(BALANCED_ACCURACY, charted=True), replace(ROC_AUC, charted=True), AVERAGE_PRECISION),
)
