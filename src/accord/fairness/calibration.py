"""Calibration: whether a model that is 90% confident is right 90% of the time, measured from additive sums by bin.

A prediction's confidence is the probability of the predicted label, which is the largest softmax output. Rows are put
into B bins of equal width by confidence, where bin b is ((b - 1)/B, b/B]. The following two come from each bin's rows,
right rows and sum of confidences, with acc(b) its share of right rows and conf(b) its mean confidence:

    expected_calibration_error = sum_b n_b / n |acc(b) - conf(b)|       Naeini et al. 2015; Guo et al. 2017, eq. 3
    maximum_calibration_error  = max_b |acc(b) - conf(b)|               the same; Guo et al. 2017, eq. 5

The other two come from the rows themselves, with p the vector of probabilities and y the label as a one-hot vector:

    brier    = mean over rows of |p - y|^2, in [0, 2]                   Brier 1950
    log_loss = mean over rows of -log p[label], in nats

The binned error is biased upwards. With few rows in a bin, chance alone moves acc(b) away from conf(b), so a small
group looks worse calibrated than it is (Kumar, Liang and Ma 2019). Brier score and log loss do not have this bias.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core import checks
from accord.core.errors import DataError
from accord.fairness.groups import Integers

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RowScores:
    """What calibration needs of each of n rows. Every array has shape `[n]`.

    Attributes:
        correct: whether the row was predicted right.
        confidence: probability of the predicted label, in [0, 1], or NaN where the model gives none.
        brier: squared distance of the probabilities to the label's, in [0, 2].
        loss: cross-entropy in nats.

    Raises:
        DataError: the lengths differ.
    """

    correct: NDArray[np.bool_]
    confidence: Floats
    brier: Floats
    loss: Floats

    def __post_init__(self) -> None:
        if not self.correct.shape == self.confidence.shape == self.brier.shape == self.loss.shape:
            raise DataError(f"calibration: {len(self.correct)} rows, but not as many of every score")


@dataclass(frozen=True, eq=False)
class CalibrationCounts:
    """Sums over the rows of each group, by bin of confidence.

    Attributes:
        n: rows, int64 of shape `[groups, bins]`.
        correct: rows predicted right, int64 of the same shape.
        confidence: sum of the confidences, of the same shape.
        brier: sum of the squared distances, shape `[groups]`.
        loss: sum of the cross-entropies in nats, shape `[groups]`. May be infinite.

    Raises:
        DataError: the shapes differ.
    """

    n: Integers
    correct: Integers
    confidence: Floats
    brier: Floats
    loss: Floats

    def __post_init__(self) -> None:
        groups = self.n.shape[:1]
        shapes = (self.correct.shape, self.confidence.shape, self.brier.shape, self.loss.shape)
        if self.n.ndim != 2 or shapes != (self.n.shape, self.n.shape, groups, groups):
            raise DataError(f"calibration: sums of shapes {(self.n.shape, *shapes)} do not belong together")

    def __add__(self, other: "CalibrationCounts") -> "CalibrationCounts":
        """Adds the sums of two sets of rows.

        Raises:
            DataError: they have other groups or bins.
        """
        if self.n.shape != other.n.shape:
            raise DataError(f"calibration: sums of {self.n.shape} and {other.n.shape} groups and bins cannot be added")
        return CalibrationCounts(
            self.n + other.n,
            self.correct + other.correct,
            self.confidence + other.confidence,
            self.brier + other.brier,
            self.loss + other.loss,
        )

    def measures(self, group: int) -> dict[str, Any] | None:
        """Returns one group's measures as JSON-ready values.

        Returns:
            The four measures of the module's docstring and `reliability`, which is rows, mean confidence and accuracy
            by bin. The latter two are None where the bin is empty. A log loss that is not finite is None. The result is
            None if the group has no rows, or a confidence is not a number.
        """
        # A NaN confidence shows in the sums, which is why these are checked instead of the rows.
        n, rows = self.n[group], int(self.n[group].sum())
        if not rows or not np.isfinite(self.confidence[group]).all():
            return None
        with_rows = n > 0
        # An empty bin has no accuracy, and no weight in either error.
        accuracy = self.correct[group][with_rows] / n[with_rows]
        confidence = self.confidence[group][with_rows] / n[with_rows]
        gaps = np.abs(accuracy - confidence)
        loss = float(self.loss[group]) / rows
        return {
            "expected_calibration_error": float((n[with_rows] * gaps).sum()) / rows,
            "maximum_calibration_error": float(gaps.max()),
            "brier": float(self.brier[group]) / rows,
            "log_loss": loss if math.isfinite(loss) else None,
            "reliability": {
                "n": n.tolist(),
                "confidence": _by_bin(with_rows, confidence),
                "accuracy": _by_bin(with_rows, accuracy),
            },
        }


def _by_bin(with_rows: NDArray[np.bool_], values: Floats) -> list[float | None]:
    known = iter(values.tolist())
    return [next(known) if some else None for some in with_rows.tolist()]


def calibration(rows: RowScores, bins: int, codes: Integers | None = None, groups: int = 1) -> CalibrationCounts:
    """Sums the rows of each group by bin of confidence.

    Args:
        rows: the scores of n rows.
        bins: the number of bins of equal width, at least 1.
        codes: the group of each row, shape `[n]`, each in `[0, groups)`. None makes one group of all rows.
        groups: the number of groups.

    Raises:
        DataError: there are not as many codes as rows.
        ValueError: there are no bins.

    >>> right, sure = np.array([True, False, True]), np.array([0.9, 0.8, 0.6])
    >>> sums = calibration(RowScores(right, sure, brier=sure, loss=sure), bins=2)
    >>> sums.n.tolist(), round(sums.measures(0)["expected_calibration_error"], 3)
    ([[0, 3]], 0.1)
    """
    checks.positive(bins=bins, groups=groups)
    codes = np.zeros(len(rows.correct), dtype=np.int64) if codes is None else codes
    if codes.shape != rows.correct.shape:
        raise DataError(
            f"calibration: {len(codes)} rows in groups, {len(rows.correct)} evaluated; they must be as many"
        )
    # A confidence on an edge belongs to the bin below it. NaN sorts into the last bin, and makes that bin's sum NaN.
    cell = codes * bins + np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], rows.confidence)

    def total(values: NDArray[Any]) -> Floats:
        return _sums(cell, values, groups * bins).reshape(groups, bins)

    return CalibrationCounts(
        # Floats are exact for counts up to 2^53.
        n=total(np.ones(len(cell))).astype(np.int64),
        correct=total(rows.correct).astype(np.int64),
        confidence=total(rows.confidence),
        brier=_sums(codes, rows.brier, groups),
        loss=_sums(codes, rows.loss, groups),
    )


def _sums(codes: Integers, values: NDArray[Any], groups: int) -> Floats:
    return np.bincount(codes, values, minlength=groups).astype(np.float64)
