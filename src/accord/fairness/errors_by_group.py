"""Errors of a regression by group: how large they are, and in which direction.

With e the error of a row (prediction minus target), over the rows of a group:

    mse = mean of e^2          mae = mean of |e|          bias = mean of e

A model with bias > 0 predicts too much for the group. A gap is the largest value over groups minus the smallest, as in
Fairlearn's `MetricFrame.difference()` with scikit-learn's `mean_squared_error` and `mean_absolute_error`.

Everything follows from additive sums by group. The sums over two sites' rows together are the sum of the sites' sums,
so sites send sums, never rows.

Intervals of a group's measures are normal approximations, m ± z s / sqrt(n), where s is the standard deviation over the
group's rows of what is averaged. Those of mse and mae are cut off at 0. Intervals of gaps are made from them (`gaps`).
A group of fewer than 2 rows has no intervals, and neither has a gap that includes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core import checks
from accord.core.errors import DataError
from accord.fairness.groups import Grouping, Integers
from accord.fairness.measures import Ends, Floats, Gap, GroupMeasures

ERRORS = ("mse", "mae", "bias")
GAPS = tuple(Gap(f"{name}_gap", (name,)) for name in ERRORS)


@dataclass(frozen=True, eq=False)
class ErrorSums:
    """Sums over the rows of one column's groups. Every array has shape `[groups]`.

    Attributes:
        column: the column's name.
        names: the groups.
        n: rows, int64.
        error: sum of e.
        absolute: sum of |e|.
        square: sum of e^2.
        fourth: sum of e^4, which the interval of mse needs.

    Raises:
        DataError: a shape is wrong.
    """

    column: str
    names: tuple[str, ...]
    n: Integers
    error: Floats
    absolute: Floats
    square: Floats
    fourth: Floats

    def __post_init__(self) -> None:
        for name, values in self.arrays().items():
            if values.shape != (len(self.names),):
                raise DataError(
                    f"fairness: sums of group column {self.column!r}: {name} must hold one number for each of "
                    f"{len(self.names)} groups"
                )

    @property
    def positive(self) -> None:
        """None, since numbers have no positive label."""
        return None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the arrays by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)[2:]}

    def __add__(self, other: "ErrorSums") -> "ErrorSums":
        """Adds the sums of two sets of rows.

        Raises:
            DataError: column or groups differ.
        """
        if (self.column, self.names) != (other.column, other.names):
            raise DataError(
                f"fairness: sums cannot be added: {self.column!r} of {self.names} and {other.column!r} of {other.names}"
            )
        theirs = other.arrays()
        return ErrorSums(
            self.column, self.names, **{name: values + theirs[name] for name, values in self.arrays().items()}
        )


def sum_errors(grouping: Grouping, errors: Floats) -> ErrorSums:
    """Sums the errors of n rows by group.

    Args:
        grouping: the group of each row.
        errors: prediction minus target, shape `[n]`.

    Raises:
        DataError: the lengths differ.

    >>> sex = Grouping("sex", ("Female", "Male"), np.array([0, 0, 1]))
    >>> sums = sum_errors(sex, np.array([1.0, -3.0, 2.0]))
    >>> sums.n.tolist(), sums.error.tolist(), sums.absolute.tolist(), sums.square.tolist()
    ([2, 1], [-2.0, 2.0], [4.0, 2.0], [10.0, 4.0])
    """
    if errors.shape != grouping.codes.shape:
        raise DataError(
            f"fairness: {len(grouping.codes)} rows in group column {grouping.column!r}, {len(errors)} errors; they "
            "must be as many"
        )

    def of(values: Floats) -> Floats:
        return np.bincount(grouping.codes, values, minlength=len(grouping.names)).astype(np.float64)

    n = np.bincount(grouping.codes, minlength=len(grouping.names)).astype(np.int64)
    # A diverged model's errors overflow when squared. Its measures are then undefined, and no warning is needed.
    with np.errstate(over="ignore"):
        return ErrorSums(
            grouping.column, grouping.names, n, of(errors), of(np.abs(errors)), of(errors**2), of(errors**4)
        )


def mean_errors(sums: ErrorSums) -> dict[str, Floats]:
    """Computes each of `ERRORS`, shape `[groups]`, or NaN where a group has no rows or its errors are not finite."""
    n = np.where((sums.n > 0) & np.isfinite(sums.square), sums.n, np.nan)
    found = {"mse": sums.square / n, "mae": sums.absolute / n, "bias": sums.error / n}
    return {name: np.where(np.isnan(n), np.nan, values) for name, values in found.items()}


def standard_errors(sums: ErrorSums) -> dict[str, Floats]:
    """Computes the standard error s / sqrt(n) of each of `mean_errors`, or NaN where a group has fewer than 2 rows."""
    n = np.where(sums.n > 1, sums.n, np.nan)
    # The sum of squares of what each measure averages, which is e^2, |e| and e.
    squares = {"mse": sums.fourth, "mae": sums.square, "bias": sums.square}
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            # s^2 / n with s^2 = (mean of squares - mean^2) n / (n - 1). Rounding may leave it just below 0.
            name: np.sqrt(np.maximum(squares[name] / n - mean**2, 0.0) / (n - 1))
            for name, mean in mean_errors(sums).items()
        }


def error_ends(sums: ErrorSums, confidence: float) -> dict[str, Ends]:
    """Computes the interval of each of `ERRORS`, shape `[groups]`, or NaN where a group has fewer than 2 rows."""
    checks.open_unit(confidence=confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    means, spreads = mean_errors(sums), standard_errors(sums)
    found = {name: (means[name] - z * spreads[name], means[name] + z * spreads[name]) for name in ERRORS}
    # A mean of squares or of distances cannot be below 0, however wide its normal approximation.
    return {name: (low if name == "bias" else np.maximum(low, 0.0), high) for name, (low, high) in found.items()}


def _rows(sums: ErrorSums) -> dict[str, Integers]:
    return dict.fromkeys(ERRORS, sums.n)


def _rebuild(column: str, names: tuple[str, ...], arrays: Mapping[str, Floats], positive: int | None) -> ErrorSums:
    sums = (arrays[name] for name in ("error", "absolute", "square", "fourth"))
    return ErrorSums(column, names, np.rint(arrays["n"]).astype(np.int64), *sums)


ERRORS_BY_GROUP: GroupMeasures[ErrorSums] = GroupMeasures(
    names=ERRORS,
    gaps=GAPS,
    ranked_by="mse",
    lower_is_better=True,
    values=mean_errors,
    intervals=error_ends,
    denominators=_rows,
    rebuild=_rebuild,
)
