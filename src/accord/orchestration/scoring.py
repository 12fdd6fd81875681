"""A judged model as records keep it: its scores over all rows, and its mean score by group."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from accord.core.params import Params
from accord.fairness.groups import Grouping
from accord.orchestration.prepared import Prepared
from accord.program.evaluate import Judged, JudgedNumbers, judge
from accord.records.round_record import TestScores, finite


def scores_of(judged: Judged | JudgedNumbers) -> TestScores:
    """The model's scores over all rows it was judged on; in a regression also root mean squared error, mean absolute
    error, and R^2 = 1 - sum of squared errors / sum of squared distances of the targets to their mean."""
    if isinstance(judged, Judged):
        return TestScores(judged.accuracy, finite(judged.loss), len(judged.predictions))
    varied = float(((judged.targets - judged.targets.mean()) ** 2).sum())
    return TestScores(
        accuracy=None,
        loss=finite(judged.loss),
        n=len(judged.predictions),
        rmse=finite(float(np.sqrt(judged.loss))),
        mae=finite(float(np.abs(judged.errors).mean())),
        r2=finite(1 - float(judged.losses.sum()) / varied) if varied else None,
    )


def group_scores(groups: Mapping[str, Grouping], score: NDArray[np.generic]) -> dict[str, dict[str, float]]:
    """Mean score (share of rows predicted right, or mean squared error) by column and group; groups without rows are
    left out.

    >>> sex = Grouping("sex", ("Female", "Male"), np.array([0, 0, 1]))
    >>> group_scores({"sex": sex}, np.array([True, False, True]))
    {'sex': {'Female': 0.5, 'Male': 1.0}}
    """
    found = {}
    for column, grouping in groups.items():
        n = np.bincount(grouping.codes, minlength=len(grouping.names))
        sums = np.bincount(grouping.codes, score, minlength=len(grouping.names))
        means = {name: float(total / rows) for name, rows, total in zip(grouping.names, n, sums, strict=True) if rows}
        found[column] = {name: mean for name, mean in means.items() if finite(mean) is not None}
    return found


def score_model(prepared: Prepared, params: Params) -> tuple[TestScores, dict[str, dict[str, float]] | None]:
    """The model's scores on the test set, and by sensitive group where the study names any.

    Args:
        prepared: the study made ready.
        params: of the model.
    """
    table = prepared.federated.data.test
    judged = judge(prepared.work.task, params, table, prepared.study.evaluation.batch_size)
    return scores_of(judged), group_scores(prepared.groups, judged.score) if prepared.groups else None
