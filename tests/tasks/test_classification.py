"""A classifier's answers against plain PyTorch, and its scores against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from torch.nn import functional as F

from accord.fairness.groups import GroupCounts, Grouping
from accord.fairness.ranking import MOST_CLASSES
from accord.tasks.base import Evaluated
from accord.tasks.classification import CLASSIFICATION, ranking, row_probabilities

LOGITS = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 3)))
LABELS = torch.from_numpy(np.random.default_rng(1).integers(3, size=60))


def evaluated(positive: int | None = None) -> Evaluated:
    answers = {name: each.numpy() for name, each in CLASSIFICATION.answer(LOGITS, LABELS, True).items()}
    losses = CLASSIFICATION.loss(LOGITS, LABELS).numpy()
    return Evaluated(CLASSIFICATION, LABELS.numpy(), answers.pop("predictions"), losses, answers, positive)


def test_answers_are_those_of_the_softmax() -> None:
    probabilities = LOGITS.softmax(1)
    one_hot = F.one_hot(LABELS, 3).double()
    seen = row_probabilities(evaluated())
    assert seen.confidence == pytest.approx(probabilities.max(1).values.numpy())
    assert seen.brier == pytest.approx(((probabilities - one_hot) ** 2).sum(1).numpy())
    assert seen.loss == pytest.approx(F.cross_entropy(LOGITS, LABELS, reduction="none").numpy())
    assert evaluated().extra["probabilities"] == pytest.approx(probabilities.numpy())


def test_scores_are_scikit_learns() -> None:
    seen, one_hot = evaluated(), np.eye(3)[LABELS.numpy()]
    assert seen.value("accuracy") == pytest.approx(accuracy_score(seen.targets, seen.predictions))
    assert seen.value("balanced_accuracy") == pytest.approx(balanced_accuracy_score(seen.targets, seen.predictions))
    assert seen.value("roc_auc") == pytest.approx(roc_auc_score(one_hot, seen.extra["probabilities"], average="macro"))
    assert seen.value("majority_share") == np.bincount(seen.targets).max() / 60
    some = np.flatnonzero(seen.targets > 0)
    recalls = [(seen.predictions[seen.targets == label] == label).mean() for label in (1, 2)]
    assert ranking(seen, some).balanced_accuracy == pytest.approx(np.mean(recalls))


def test_probabilities_are_kept_only_where_asked_and_of_few_classes() -> None:
    assert "probabilities" not in CLASSIFICATION.answer(LOGITS, LABELS, False)
    for classes, known in ((MOST_CLASSES, True), (MOST_CLASSES + 1, False)):
        answers = CLASSIFICATION.answer(torch.zeros(2, classes), torch.zeros(2, dtype=torch.int64), True)
        assert ("probabilities" in answers) is known


def test_groups_are_counted_with_the_positive_label() -> None:
    grouping = Grouping("g", ("a", "b"), np.arange(60) % 2)
    counts = CLASSIFICATION.group_sums(grouping, evaluated(positive=2), slice(None))
    assert isinstance(counts, GroupCounts)
    assert counts.positive == 2
    assert counts.tp is not None
    assert counts.tp.sum() == ((LABELS == 2) & (LOGITS.argmax(1) == 2)).sum()
