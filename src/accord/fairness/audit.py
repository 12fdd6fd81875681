"""The fairness report: measures by group, gaps by column, the worst group, and the spread over clients.

One report serves every kind of task. A `GroupMeasures` value says what is measured.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from accord.core import checks
from accord.core.errors import DataError
from accord.fairness.gaps import gap_intervals, gap_values
from accord.fairness.groups import Integers
from accord.fairness.measures import Floats, Gap, GroupMeasures, Interval, Sums


def _ends(intervals: Mapping[str, Interval | None]) -> dict[str, list[float] | None]:
    return {name: None if ends is None else list(ends) for name, ends in intervals.items()}


@dataclass(frozen=True)
class GroupReport:
    """The report on one group.

    Attributes:
        n: rows.
        values: the value of each measure, or None where it is undefined.
        intervals: the interval of each measure, or None where the measure or its interval is undefined.
        too_small: whether there are fewer rows than the smallest group that permits a conclusion.
        too_small_rates: measures that rest on fewer rows than that, such as the TPR of a group with few positive rows,
            or all of them where the group is too small. Those without any row are undefined, and not among them.
    """

    n: int
    values: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    too_small: bool
    too_small_rates: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Returns the group as JSON-ready values."""
        return {
            "n": self.n,
            **self.values,
            "intervals": _ends(self.intervals),
            "too_small": self.too_small,
            "too_small_rates": list(self.too_small_rates),
        }


@dataclass(frozen=True)
class ColumnReport:
    """The report on one group column.

    Attributes:
        gaps: the value of each gap, or None where it is undefined. Groups that are too small count in them.
        intervals: the interval of each gap, which contains it, or None where the gap or its interval is undefined.
        worst_group: the worst group among those not too small, or None if all are.
        too_small_groups: groups that are too small, including those without a row.
    """

    gaps: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    worst_group: str | None
    too_small_groups: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Returns the column as JSON-ready values."""
        return {
            **self.gaps,
            "worst_group": self.worst_group,
            "intervals": _ends(self.intervals),
            "too_small_groups": list(self.too_small_groups),
        }


@dataclass(frozen=True)
class FairnessReport:
    """Measures of every column and group.

    Attributes:
        measure: the measure that determines the worst group, such as `accuracy`.
        groups: by flat name, such as `sex=Female` or `sex*race=Female, Black`.
        columns: by column, in the order given.
        headline_columns: by gap, the column where it is widest, the first of them in a tie. Its value is the headline.
        headline_column: that of the first gap.
        worst_group: flat name of the worst group over all columns among those not too small, the first of them in a
            tie. None if all are too small.
        worst_group_value: its measure.
        confidence: level of the intervals.
        positive: the label that counts as positive, or None where there is none.
    """

    measure: str
    groups: Mapping[str, GroupReport]
    columns: Mapping[str, ColumnReport]
    headline_columns: Mapping[str, str]
    headline_column: str
    worst_group: str | None
    worst_group_value: float | None
    confidence: float
    positive: int | None

    def as_json(self) -> dict[str, Any]:
        """Returns the report as JSON-ready values. `worst_group_value` is named as in `worst_group_accuracy`."""
        return {
            "measure": self.measure,
            "groups": {name: group.as_json() for name, group in self.groups.items()},
            "columns": {name: column.as_json() for name, column in self.columns.items()},
            "headline_column": self.headline_column,
            "headline_columns": dict(self.headline_columns),
            **{gap: self.columns[column].gaps[gap] for gap, column in self.headline_columns.items()},
            "worst_group": self.worst_group,
            f"worst_group_{self.measure}": self.worst_group_value,
            "confidence": self.confidence,
            "positive": self.positive,
        }


def group_reports(
    sums: Sums, measures: GroupMeasures[Sums], confidence: float, min_group_size: int
) -> dict[str, GroupReport]:
    """Reports each group's measures with intervals, and flags those that rest on too few rows.

    The intervals are at `confidence`, and the flags are for fewer rows than `min_group_size`.
    """
    checks.open_unit(confidence=confidence)
    values, rests_on = measures.values(sums), measures.denominators(sums)
    intervals = measures.intervals(sums, confidence)
    return {
        name: GroupReport(
            n=int(sums.n[i]),
            values={measure: _finite(values[measure][i]) for measure in measures.names},
            intervals={measure: _interval(*(ends[i] for ends in intervals[measure])) for measure in measures.names},
            too_small=int(sums.n[i]) < min_group_size,
            too_small_rates=tuple(measure for measure, n in rests_on.items() if 0 < n[i] < min_group_size),
        )
        for i, name in enumerate(sums.names)
    }


def audit(
    sums_by_column: Mapping[str, Sums], measures: GroupMeasures[Sums], *, confidence: float, min_group_size: int
) -> FairnessReport:
    """Measures every column's groups.

    Args:
        sums_by_column: column to its sums, such as counts, all with the same positive label.
        measures: what is measured of them.
        confidence: level of every interval, strictly between 0 and 1.
        min_group_size: groups with fewer rows are flagged as too small, at least 1.

    Raises:
        DataError: there is no column, or the sums do not belong together.
        ValueError: an argument is out of range.
    """
    checks.open_unit(confidence=confidence)
    checks.positive(min_group_size=min_group_size)
    _check_columns(sums_by_column)
    groups: dict[str, GroupReport] = {}
    columns: dict[str, ColumnReport] = {}
    for column, sums in sums_by_column.items():
        own = group_reports(sums, measures, confidence, min_group_size)
        # Flat names distinguish equal group names of two columns.
        groups |= {f"{column}={name}": group for name, group in own.items()}
        columns[column] = ColumnReport(
            gaps=gap_values(measures, sums),
            intervals=gap_intervals(measures, sums, confidence),
            worst_group=_worst(own, measures)[0],
            too_small_groups=tuple(name for name, group in own.items() if group.too_small),
        )
    # Over all columns at once, so groups of different columns are compared.
    worst_group, worst_group_value = _worst(groups, measures)
    headlines = {gap.name: _widest(gap, columns) for gap in measures.gaps}
    return FairnessReport(
        measure=measures.ranked_by,
        groups=groups,
        columns=columns,
        headline_columns=headlines,
        headline_column=headlines[measures.gaps[0].name],
        worst_group=worst_group,
        worst_group_value=worst_group_value,
        confidence=confidence,
        positive=next(iter(sums_by_column.values())).positive,
    )


def _check_columns(sums_by_column: Mapping[str, Sums]) -> None:
    if not sums_by_column:
        raise DataError("fairness: no group columns to audit; name at least one in fairness.groups")
    for column, sums in sums_by_column.items():
        if column != sums.column:
            raise DataError(f"fairness: the counts given as column {column!r} are those of {sums.column!r}")
    positives = {column: sums.positive for column, sums in sums_by_column.items()}
    if len(set(positives.values())) > 1:
        raise DataError(f"fairness: the columns must share one positive label, got {positives}")


def _widest(gap: Gap, columns: Mapping[str, ColumnReport]) -> str:
    """Returns the column where a gap is widest, the first in a tie and where it is defined nowhere."""
    # Undefined gaps are None, which has no order.
    known = [(value, column) for column, report in columns.items() if (value := report.gaps[gap.name]) is not None]
    if not known:
        return next(iter(columns))
    # A ratio is a wider gap the further it is below 1. `max` and `min` both take the first of a tie.
    return (max if gap.form == "difference" else min)(known, key=lambda pair: pair[0])[1]


def _worst(groups: Mapping[str, GroupReport], measures: GroupMeasures[Any]) -> tuple[str | None, float | None]:
    """Returns name and measure of the worst group that is not too small, the first in a tie."""
    known = [
        (value, name)
        for name, group in groups.items()
        if not group.too_small and (value := group.values[measures.ranked_by]) is not None
    ]
    if not known:
        return None, None
    value, name = (max if measures.lower_is_better else min)(known, key=lambda pair: pair[0])
    return name, value


@dataclass(frozen=True)
class ClientSpread:
    """How a score differs over clients. Every client has the same weight, whatever its rows.

    Attributes:
        clients: clients with test rows, over which all values are computed.
        without_rows: clients without test rows, which are left out.
        too_small: how many of `clients` have too few test rows for a conclusion.
        mean: mean of the clients' scores. This and the rest are None where no client has test rows, and where a value
            is not finite.
        std: standard deviation over the clients, divided by their number.
        min: lowest score.
        max: highest score.
        worst_decile: mean score of the worst tenth of clients (rounded down, at least one client).
    """

    clients: int
    without_rows: int
    too_small: int
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None
    worst_decile: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """Returns the values of the spread that results contain, by name."""
        names: Iterable[str] = ("mean", "std", "min", "max", "worst_decile")
        return {name: getattr(self, name) for name in names}


def client_spread(
    sums: Integers | Floats, n: Integers, *, lower_is_better: bool, most: float = math.inf, min_rows: int = 30
) -> ClientSpread:
    """Computes the spread of mean scores over clients (measures of Li et al. 2020, "Fair resource allocation").

    Args:
        sums: sums of each client's scores over its rows, such as rows predicted right, shape `[clients]`. May be
            infinite.
        n: test rows, shape `[clients]`. Clients with 0 are left out and counted.
        lower_is_better: whether the worst clients are those with the highest scores, as of errors.
        most: the largest score of a row. Each score is at least 0.
        min_rows: clients with fewer test rows are counted as too small, at least 1.

    Raises:
        DataError: shapes differ, or no rows could give such sums.

    >>> spread = client_spread(np.array([90, 50, 0]), np.array([100, 100, 0]), lower_is_better=False, most=1)
    >>> spread.mean, spread.worst_decile, spread.without_rows
    (0.7, 0.5, 1)
    """
    checks.positive(min_rows=min_rows)
    if sums.ndim != 1 or sums.shape != n.shape:
        raise DataError(f"fairness: {sums.shape} sums of scores but {n.shape} row counts; give one each a client")
    # Comparisons with NaN are false, so in this form a sum of NaN fails too.
    if not bool(((sums >= 0) & (sums <= np.where(n > 0, most * np.maximum(n, 1), 0))).all()):
        raise DataError(f"fairness: a client's sum of scores must lie between 0 and {most:g} for each of its rows")
    with_rows = n > 0
    clients = int(with_rows.sum())
    without, small = len(n) - clients, int((n[with_rows] < min_rows).sum())
    if not clients:
        return ClientSpread(0, without, small)
    means = np.sort(sums[with_rows] / n[with_rows])
    # With fewer than 20 clients this is the worst client alone.
    tenth = max(1, clients // 10)
    return ClientSpread(
        clients=clients,
        without_rows=without,
        too_small=small,
        mean=_finite(means.mean()),
        # With an infinite score, NumPy would warn and return NaN.
        std=_finite(means.std()) if np.isfinite(means).all() else None,
        min=_finite(means[0]),
        max=_finite(means[-1]),
        worst_decile=_finite((means[-tenth:] if lower_is_better else means[:tenth]).mean()),
    )


def _interval(low: float, high: float) -> Interval | None:
    return (float(low), float(high)) if np.isfinite(low) and np.isfinite(high) else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
