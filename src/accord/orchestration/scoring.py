"""The recorded scores of an evaluated model: over all rows, and as means by group."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from accord.core.params import Params
from accord.fairness.groups import Grouping
from accord.orchestration.prepared import Prepared
from accord.orchestration.scores_from_sums import group_scores as by_group
from accord.orchestration.scores_from_sums import measured_scores
from accord.program.evaluate import evaluate
from accord.records.round_record import TestScores
from accord.tasks.base import Evaluated


def scores_of(evaluated: Evaluated) -> TestScores:
    """Computes the scores that the task kind records for every evaluated round, over all rows."""
    scores = {score.result_key: score.of(evaluated) for score in evaluated.kind.scores}
    return TestScores(scores, len(evaluated))


def group_scores(groups: Mapping[str, Grouping], row_scores: NDArray[np.generic]) -> dict[str, dict[str, float]]:
    """Computes the mean score by column and group. Groups without rows or without a finite mean are left out.

    Args:
        groups: column to the group of each row.
        row_scores: whether each row was predicted right, or its squared error, shape `[n]`.

    >>> sex = Grouping("sex", ("Female", "Male"), np.array([0, 0, 1]))
    >>> group_scores({"sex": sex}, np.array([True, False, True]))
    {'sex': {'Female': 0.5, 'Male': 1.0}}
    """
    found = {}
    for column, grouping in groups.items():
        n = np.bincount(grouping.codes, minlength=len(grouping.names))
        sums = np.bincount(grouping.codes, row_scores, minlength=len(grouping.names))
        means = {name: float(total / rows) for name, rows, total in zip(grouping.names, n, sums, strict=True) if rows}
        found[column] = {name: mean for name, mean in means.items() if math.isfinite(mean)}
    return found


def score_model(
    prepared: Prepared, params: Params, number: int
) -> tuple[TestScores | None, dict[str, dict[str, float]] | None]:
    """Scores the model on the test set, and by sensitive group where the study names any.

    Args:
        prepared: the prepared study.
        params: the model's parameters.
        number: the round after which it is scored.

    Returns:
        The scores, or None where test rows are at sites and none of them sends any.
    """
    if prepared.sites is not None:
        found = prepared.sites.measure(params, number, final=False)
        return (None, None) if found is None else (measured_scores(found, final=False), by_group(found))
    table = prepared.federated.data.test
    evaluated = evaluate(prepared.work.task, params, table, prepared.study.evaluation.batch_size)
    return scores_of(evaluated), group_scores(prepared.groups, evaluated.row_scores) if prepared.groups else None
