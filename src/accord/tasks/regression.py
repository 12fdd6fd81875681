"""Regression: predicts a number by the network's single output, trained by squared error."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from accord.fairness.errors_by_group import ERRORS_BY_GROUP, ErrorSums, sum_errors
from accord.fairness.groups import Grouping, Integers
from accord.fairness.measures import Floats
from accord.tasks.base import Evaluated, Score, TaskKind, Words

if TYPE_CHECKING:  # records and reports read kinds, and must not wait for PyTorch to load
    from torch import Tensor


def squared_error(outputs: "Tensor", targets: "Tensor") -> "Tensor":
    """Computes the squared error (f(x) - y)^2 of each sample, in the target's unit squared, shape `[batch]`.

    Args:
        outputs: shape `[batch, 1]`.
        targets: shape `[batch]`.
    """
    # Without the index, [batch, 1] - [batch] would broadcast to [batch, batch].
    return (outputs[:, 0] - targets).square()


def _answer(outputs: "Tensor", targets: "Tensor", probabilities: bool) -> "Mapping[str, Tensor]":
    return {"predictions": outputs[:, 0]}


def errors(evaluated: Evaluated) -> Floats:
    """Returns prediction minus target, shape `[n]`."""
    return np.asarray(evaluated.predictions - evaluated.targets)


def _squared(evaluated: Evaluated) -> NDArray[Any]:
    """Returns the squared errors, with infinity for NaN, so that such a row is the worst and not unknown."""
    return np.nan_to_num(evaluated.losses, nan=np.inf, posinf=np.inf)


def _distances(evaluated: Evaluated) -> NDArray[Any]:
    return np.abs(errors(evaluated))


def _rmse(evaluated: Evaluated) -> float:
    return float(np.sqrt(evaluated.loss))


def _r2(evaluated: Evaluated) -> float:
    """Returns the coefficient of determination, or NaN where the targets do not vary.

    It is 1 - sum of squared errors / sum of squared distances of the targets to their mean.
    """
    # Targets that do not vary leave nothing to explain.
    varied = float(((evaluated.targets - evaluated.targets.mean()) ** 2).sum())
    return 1 - float(evaluated.losses.sum()) / varied if varied else float("nan")


def _rmse_of_sums(sums: Mapping[str, NDArray[Any]]) -> float:
    return float(np.sqrt(sums["score/mse"][0] / sums["n"][0]))


def _r2_of_sums(sums: Mapping[str, NDArray[Any]]) -> float:
    total, squares = sums["targets"]
    varied = float(squares - total**2 / sums["n"][0])
    return 1 - float(sums["score/mse"][0]) / varied if varied > 0 else float("nan")


def _sums(grouping: Grouping, evaluated: Evaluated, rows: Integers | slice) -> ErrorSums:
    return sum_errors(grouping, errors(evaluated)[rows])


RMSE = Score(
    "rmse", "RMSE", "Root of the mean squared error (less is better)", short="rmse", of_all=_rmse, of_sums=_rmse_of_sums
)
MAE = Score("mae", "MAE", "Mean absolute error (less is better)", of_rows=_distances)
R2 = Score(
    "r2",
    "R²",
    "Share of the target's variance that is explained",
    "plain",
    lower_is_better=False,
    of_all=_r2,
    of_sums=_r2_of_sums,
    bounds=(-math.inf, 1.0),
)
MSE = Score("mse", "Mean squared error", "Mean of the squared error", key="loss", of_rows=_squared)
BIAS = Score("bias", "Bias", "Mean of prediction less target", bounds=(-math.inf, math.inf))

REGRESSION = TaskKind(
    name="regression",
    loss=squared_error,
    answer=_answer,
    scores=(RMSE, MSE, MAE, R2),
    in_tables=(RMSE, MAE, R2),
    final_scores=(),
    beside=(MAE, R2),
    local=MSE,
    groups=ERRORS_BY_GROUP,
    group_sums=_sums,
    group_scores=(MSE, MAE, BIAS),
    gap_scores=(
        Score("mse_gap", "Gap in mean squared error", "highest less the lowest", short="MSE gap"),
        Score("mae_gap", "Gap in mean absolute error", "highest less the lowest", short="MAE gap"),
        Score("bias_gap", "Gap in bias", "highest less the lowest", short="bias gap"),
    ),
    gap=Score("mse_gap", "MSE gap", "Mean squared error of the worst group minus the best's; less is fairer."),
    worst_group=Score(
        "worst_group_mse", "Worst group MSE", "Mean squared error of the group that fares worst in each run."
    ),
    compared_gaps=("mse_gap", "bias_gap"),
    classes=False,
    words=Words(
        section="Errors by round",
        subject="Errors",
        plural="errors",
        loss="squared error",
        exact="means over",
        of_group=MSE.about,
        beside_local=", MSE",
        worst_clients="the 10% of largest error",
        released_score="error",
        released_sums="sums of errors",
        released_test="test errors",
        released_groups="errors by group",
    ),
)
