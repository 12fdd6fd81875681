"""The table of task kinds, and which one a network, a result or a round's scores belong to."""

from collections.abc import Iterable, Mapping

from accord.tasks.base import TaskKind
from accord.tasks.classification import CLASSIFICATION
from accord.tasks.regression import REGRESSION

KINDS: Mapping[str, TaskKind] = {kind.name: kind for kind in (CLASSIFICATION, REGRESSION)}
"""Kinds by the name that `result.json` has under `task`."""


def kind_of_classes(classes: int) -> TaskKind:
    """Returns the kind of a network with this number of classes, which is 0 where the target is a number.

    >>> kind_of_classes(10).name, kind_of_classes(0).name
    ('classification', 'regression')
    """
    return CLASSIFICATION if classes else REGRESSION


def kind_of_scores(names: Iterable[str]) -> TaskKind:
    """Returns the kind that most of these scores belong to, for a round whose record does not name it.

    >>> kind_of_scores(score.result_key for score in REGRESSION.scores).name
    'regression'
    """
    known = set(names)
    return max(KINDS.values(), key=lambda kind: len(known & {score.result_key for score in kind.all_scores}))
