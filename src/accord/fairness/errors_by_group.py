"""Errors of a regression by group: how far off the model is for each, and which way.

With e the error of a row (prediction less target), over the rows of a group:

    mse = mean of e^2          mae = mean of |e|          bias = mean of e

A model with bias > 0 predicts too much for the group. Gaps are between groups: the largest less the smallest, as of
Fairlearn's `MetricFrame.difference()` with scikit-learn's `mean_squared_error` and `mean_absolute_error`.

Everything follows from sums by group that add: the sums of two sites' rows together are the sum of the sites' sums. So
sites send sums, never rows.

Intervals of a group's measures are normal approximations: m ± z s / sqrt(n), s the standard deviation over the group's
rows of what is averaged; of mse and mae cut off at 0. Intervals of gaps are quantiles of gaps between means drawn from
these normal distributions (a parametric bootstrap): they too follow from the sums. As a maximum over noisy means a gap
is biased upwards, and so is its interval: it is no test of "no gap". A group of fewer than 2 rows has no intervals, and
neither has a gap that it is in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core import checks
from accord.core.errors import DataError
from accord.fairness.audit import ClientSpread
from accord.fairness.groups import Grouping, Integers
from accord.fairness.rates import Interval

Floats = NDArray[np.float64]

ERRORS = ("mse", "mae", "bias")
GAPS = tuple(f"{name}_gap" for name in ERRORS)


@dataclass(frozen=True, eq=False)
class ErrorSums:
    """Sums over the rows of one column's groups; every array has shape `[groups]`.

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

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)[2:]}

    def __add__(self, other: "ErrorSums") -> "ErrorSums":
        """The sums of both sets of rows together.

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


@dataclass(frozen=True)
class GroupErrors:
    """One group.

    Attributes:
        n: rows.
        errors: each of `ERRORS`; None where the group has no rows, or an error is not finite.
        intervals: of each; None where the group has fewer than 2 rows.
        too_small: fewer rows than the smallest group one can speak about.
    """

    n: int
    errors: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    too_small: bool

    def as_json(self) -> dict[str, Any]:
        """The group as JSON-ready values."""
        return {"n": self.n, **self.errors, "intervals": _ends(self.intervals), "too_small": self.too_small}


@dataclass(frozen=True)
class ColumnErrors:
    """One group column.

    Attributes:
        gaps: each of `GAPS`; None where no group has rows. Groups that are too small are in them.
        intervals: of each gap; None where it is undefined, or a group in it has fewer than 2 rows.
        worst_group: the group of highest mse among those not too small; None if all are.
        too_small_groups: groups that are too small, those without a row included.
    """

    gaps: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    worst_group: str | None
    too_small_groups: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The column as JSON-ready values."""
        return {
            **self.gaps,
            "worst_group": self.worst_group,
            "intervals": _ends(self.intervals),
            "too_small_groups": list(self.too_small_groups),
        }


@dataclass(frozen=True)
class ErrorReport:
    """Errors of every column and group.

    Attributes:
        groups: by flat name, such as `sex=Female` or `sex*race=Female, Black`.
        columns: by column, in the order given.
        headline_column: the first column; its gaps are the headline.
        worst_group: flat name of the highest mse over all columns' groups that are not too small; the first of them in
            a tie; None if all are too small.
        worst_group_mse: its mse.
        confidence: level of the intervals.
    """

    groups: Mapping[str, GroupErrors]
    columns: Mapping[str, ColumnErrors]
    headline_column: str
    worst_group: str | None
    worst_group_mse: float | None
    confidence: float

    def as_json(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        return {
            "measure": "mse",
            "groups": {name: group.as_json() for name, group in self.groups.items()},
            "columns": {name: column.as_json() for name, column in self.columns.items()},
            "headline_column": self.headline_column,
            **self.columns[self.headline_column].gaps,
            "worst_group": self.worst_group,
            "worst_group_mse": self.worst_group_mse,
            "confidence": self.confidence,
            "positive": None,
            "confusion": None,
        }


def sum_errors(grouping: Grouping, errors: Floats) -> ErrorSums:
    """Sums the errors of n rows by group.

    Args:
        grouping: the group of each row.
        errors: prediction less target, shape `[n]`.

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
    with np.errstate(over="ignore"):
        return ErrorSums(
            grouping.column, grouping.names, n, of(errors), of(np.abs(errors)), of(errors**2), of(errors**4)
        )


def mean_errors(sums: ErrorSums) -> dict[str, Floats]:
    """Each of `ERRORS`, shape `[groups]`; NaN where a group has no rows, or its errors are not finite."""
    n = np.where((sums.n > 0) & np.isfinite(sums.square), sums.n, np.nan)
    found = {"mse": sums.square / n, "mae": sums.absolute / n, "bias": sums.error / n}
    return {name: np.where(np.isnan(n), np.nan, values) for name, values in found.items()}


def standard_errors(sums: ErrorSums) -> dict[str, Floats]:
    """The standard error of each of `mean_errors`, s / sqrt(n); NaN where a group has fewer than 2 rows."""
    n = np.where(sums.n > 1, sums.n, np.nan)
    squares = {"mse": sums.fourth, "mae": sums.square, "bias": sums.square}
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            name: np.sqrt(np.maximum(squares[name] / n - mean**2, 0.0) / (n - 1))
            for name, mean in mean_errors(sums).items()
        }


def group_errors(sums: ErrorSums, confidence: float, min_group_size: int) -> dict[str, GroupErrors]:
    """Each group's errors with intervals at `confidence`, and whether it has fewer rows than `min_group_size`."""
    checks.open_unit(confidence=confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    means, half = mean_errors(sums), {name: z * each for name, each in standard_errors(sums).items()}
    return {
        group: GroupErrors(
            n=int(sums.n[i]),
            errors={name: _finite(means[name][i]) for name in ERRORS},
            intervals={
                name: _interval(name, means[name][i] - half[name][i], means[name][i] + half[name][i]) for name in ERRORS
            },
            too_small=int(sums.n[i]) < min_group_size,
        )
        for i, group in enumerate(sums.names)
    }


def error_gaps(sums: ErrorSums) -> dict[str, float | None]:
    """Each of `GAPS`: the largest less the smallest of the groups with rows; None where there is none.

    >>> sex = Grouping("sex", ("Female", "Male"), np.array([0, 0, 1]))
    >>> error_gaps(sum_errors(sex, np.array([1.0, -3.0, 2.0])))
    {'mse_gap': 1.0, 'mae_gap': 0.0, 'bias_gap': 3.0}
    """
    held = sums.n > 0
    return {
        f"{name}_gap": _finite(np.ptp(values[held])) if held.any() else None
        for name, values in mean_errors(sums).items()
    }


def gap_intervals(
    sums: ErrorSums, *, confidence: float, resamples: int, rng: np.random.Generator
) -> dict[str, Interval | None]:
    """The interval of each of `GAPS`, by `resamples` draws of each group's mean; see the module's docstring."""
    checks.open_unit(confidence=confidence)
    checks.positive(resamples=resamples)
    levels = ((1 - confidence) / 2, (1 + confidence) / 2)
    means, spreads, held = mean_errors(sums), standard_errors(sums), sums.n > 0
    found: dict[str, Interval | None] = {}
    for name, gap in error_gaps(sums).items():
        error = name.removesuffix("_gap")
        drawn = rng.standard_normal(
            (resamples, len(sums.names))
        )  # drawn in any case: the next gap's stay what they are
        spread = spreads[error][held]
        if gap is None or not np.isfinite(spread).all():
            found[name] = None
            continue
        low, high = np.quantile(np.ptp(means[error][held] + drawn[:, held] * spread, axis=1), levels)
        found[name] = (float(low), float(high))
    return found


def audit_errors(
    sums_by_column: Mapping[str, ErrorSums],
    *,
    confidence: float,
    min_group_size: int,
    resamples: int,
    rng: np.random.Generator,
) -> ErrorReport:
    """Measures every column's groups.

    Args:
        sums_by_column: column to its sums; the first is the headline.
        confidence: level of every interval, strictly between 0 and 1.
        min_group_size: groups with fewer rows are flagged as too small to say, at least 1.
        resamples: draws behind the intervals of gaps.
        rng: where they come from; columns draw in the order given.

    Raises:
        DataError: there is no column.
        ValueError: an argument is out of range.
    """
    checks.positive(min_group_size=min_group_size)
    if not sums_by_column:
        raise DataError("fairness: no group columns to audit; name at least one in fairness.groups")
    groups: dict[str, GroupErrors] = {}
    columns: dict[str, ColumnErrors] = {}
    for column, sums in sums_by_column.items():
        own = group_errors(sums, confidence, min_group_size)
        groups |= {f"{column}={name}": group for name, group in own.items()}
        columns[column] = ColumnErrors(
            gaps=error_gaps(sums),
            intervals=gap_intervals(sums, confidence=confidence, resamples=resamples, rng=rng),
            worst_group=_worst(own)[0],
            too_small_groups=tuple(name for name, group in own.items() if group.too_small),
        )
    return ErrorReport(groups, columns, next(iter(columns)), *_worst(groups), confidence)


def error_spread(sums: Floats, n: Integers, *, min_rows: int = 30) -> ClientSpread:
    """The spread over clients of their mean errors; every client weighs the same. The worst tenth is the largest.

    Args:
        sums: of each client's errors, such as squared ones, shape `[clients]`, each >= 0; may be infinite.
        n: test rows, shape `[clients]`; clients with 0 are left out and counted.
        min_rows: clients with fewer test rows are counted as too small to say, at least 1.

    Raises:
        DataError: shapes differ, or a sum is below 0 or NaN.

    >>> spread = error_spread(np.array([100.0, 300.0, 0.0]), np.array([100, 100, 0]))
    >>> spread.mean, spread.worst_10_percent, spread.without_rows
    (2.0, 3.0, 1)
    """
    checks.positive(min_rows=min_rows)
    if sums.ndim != 1 or sums.shape != n.shape or not bool((sums >= 0).all()):
        raise DataError(
            f"fairness: errors of shape {sums.shape} and rows of {n.shape}; give a sum >= 0 for each client"
        )
    held = n > 0
    clients = int(held.sum())
    without, small = len(n) - clients, int((n[held] < min_rows).sum())
    if not clients:
        return ClientSpread(0, without, small, None, None, None, None, None)
    means = np.sort(sums[held] / n[held])
    return ClientSpread(
        clients=clients,
        without_rows=without,
        too_small=small,
        mean=_finite(means.mean()),
        standard_deviation=_finite(means.std()) if np.isfinite(means).all() else None,
        min=_finite(means[0]),
        max=_finite(means[-1]),
        worst_10_percent=_finite(means[-max(1, clients // 10) :].mean()),
    )


def _worst(groups: Mapping[str, GroupErrors]) -> tuple[str | None, float | None]:
    """Name and mse of the group of highest mse that is not too small; the first in a tie."""
    known = [
        (mse, name)
        for name, group in groups.items()
        if not group.too_small and (mse := group.errors["mse"]) is not None
    ]
    if not known:
        return None, None
    mse, name = max(known, key=lambda pair: pair[0])
    return name, mse


def _ends(intervals: Mapping[str, Interval | None]) -> dict[str, list[float] | None]:
    return {name: None if ends is None else list(ends) for name, ends in intervals.items()}


def _interval(name: str, low: float, high: float) -> Interval | None:
    if not (np.isfinite(low) and np.isfinite(high)):
        return None
    return (float(low) if name == "bias" else max(0.0, float(low))), float(high)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
