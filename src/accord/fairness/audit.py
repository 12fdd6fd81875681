"""The fairness report: rates by group, gaps by column, worst group; and the spread over clients."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from accord.core import checks
from accord.core.errors import DataError
from accord.fairness.groups import GroupCounts, Integers
from accord.fairness.rates import Interval, denominators, gap_intervals, gaps, rate_intervals, rates


def _ends(intervals: Mapping[str, Interval | None]) -> dict[str, list[float] | None]:
    return {name: None if ends is None else list(ends) for name, ends in intervals.items()}


@dataclass(frozen=True)
class GroupReport:
    """One group.

    Attributes:
        n: rows.
        rates: each of `rates.RATES`; None where it is undefined.
        intervals: the Wilson interval of each rate; None where the rate is.
        too_small: fewer rows than the smallest group one can speak about.
        too_small_rates: rates that rest on fewer rows than that, such as the TPR of a group with few positive rows;
            all of them where the group is too small. Those without any row are undefined, and not among them.
    """

    n: int
    rates: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    too_small: bool
    too_small_rates: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The group as JSON-ready values."""
        return {
            "n": self.n,
            **self.rates,
            "intervals": _ends(self.intervals),
            "too_small": self.too_small,
            "too_small_rates": list(self.too_small_rates),
        }


@dataclass(frozen=True)
class ColumnReport:
    """One group column.

    Attributes:
        gaps: each of `rates.GAPS`; None where it is undefined. Groups that are too small are in them.
        intervals: the percentile bootstrap interval of each gap; None where the gap is undefined.
        worst_group: the group of lowest accuracy among those not too small; None if all are.
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
class FairnessReport:
    """Measures of every column and group.

    Attributes:
        groups: by flat name, such as `sex=Female` or `sex*race=Female, Black`.
        columns: by column, in the order given.
        headline_column: the first column; its gaps are the headline.
        worst_group: flat name of the lowest accuracy over all columns' groups that are not too small;
            the first of them in a tie; None if all are too small.
        worst_group_accuracy: its accuracy.
        confidence: level of the intervals.
        positive: the label that counts as positive, None where there is none.
    """

    groups: Mapping[str, GroupReport]
    columns: Mapping[str, ColumnReport]
    headline_column: str
    worst_group: str | None
    worst_group_accuracy: float | None
    confidence: float
    positive: int | None

    def as_json(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        return {
            "groups": {name: group.as_json() for name, group in self.groups.items()},
            "columns": {name: column.as_json() for name, column in self.columns.items()},
            "headline_column": self.headline_column,
            **self.columns[self.headline_column].gaps,
            "worst_group": self.worst_group,
            "worst_group_accuracy": self.worst_group_accuracy,
            "confidence": self.confidence,
            "positive": self.positive,
        }


def group_reports(counts: GroupCounts, confidence: float, min_group_size: int) -> dict[str, GroupReport]:
    """Each group's rates with Wilson intervals at `confidence`, and whether it or one of them rests on fewer rows than
    `min_group_size`."""
    values, intervals, rests_on = rates(counts), rate_intervals(counts, confidence), denominators(counts)
    return {
        name: GroupReport(
            n=int(counts.n[i]),
            rates={rate: by_group[i] for rate, by_group in values.items()},
            intervals={rate: by_group[i] for rate, by_group in intervals.items()},
            too_small=int(counts.n[i]) < min_group_size,
            too_small_rates=tuple(rate for rate, n in rests_on.items() if 0 < n[i] < min_group_size),
        )
        for i, name in enumerate(counts.names)
    }


def _worst(groups: Mapping[str, GroupReport]) -> tuple[str | None, float | None]:
    """Name and accuracy of the least accurate group that is not too small; the first in a tie."""
    accuracies = [
        (accuracy, name)
        for name, group in groups.items()
        if not group.too_small and (accuracy := group.rates["accuracy"]) is not None
    ]
    if not accuracies:
        return None, None
    accuracy, name = min(accuracies, key=lambda pair: pair[0])
    return name, accuracy


def _check_columns(counts_by_column: Mapping[str, GroupCounts]) -> None:
    if not counts_by_column:
        raise DataError("fairness: no group columns to audit; name at least one in fairness.groups")
    for column, counts in counts_by_column.items():
        if column != counts.column:
            raise DataError(f"fairness: the counts given as column {column!r} are those of {counts.column!r}")
    positives = {column: counts.positive for column, counts in counts_by_column.items()}
    if len(set(positives.values())) > 1:
        raise DataError(f"fairness: the columns must share one positive label, got {positives}")


def audit(
    counts_by_column: Mapping[str, GroupCounts],
    *,
    confidence: float,
    min_group_size: int,
    resamples: int,
    rng: np.random.Generator,
) -> FairnessReport:
    """Measures every column's groups.

    Args:
        counts_by_column: column to its counts, all with the same positive label; the first is the headline.
        confidence: level of every interval, strictly between 0 and 1.
        min_group_size: groups with fewer rows are flagged as too small to say, at least 1.
        resamples: bootstrap resamples behind the intervals of gaps.
        rng: where they come from; columns draw in the order given.

    Raises:
        DataError: there is no column, or the counts do not belong together.
        ValueError: an argument is out of range.
    """
    checks.open_unit(confidence=confidence)
    checks.positive(min_group_size=min_group_size, resamples=resamples)
    _check_columns(counts_by_column)
    groups: dict[str, GroupReport] = {}
    columns: dict[str, ColumnReport] = {}
    for column, counts in counts_by_column.items():
        own = group_reports(counts, confidence, min_group_size)
        groups |= {f"{column}={name}": group for name, group in own.items()}
        columns[column] = ColumnReport(
            gaps=gaps(counts),
            intervals=gap_intervals(counts, confidence=confidence, resamples=resamples, rng=rng),
            worst_group=_worst(own)[0],
            too_small_groups=tuple(name for name, group in own.items() if group.too_small),
        )
    worst_group, worst_group_accuracy = _worst(groups)
    headline = next(iter(counts_by_column))
    return FairnessReport(
        groups=groups,
        columns=columns,
        headline_column=headline,
        worst_group=worst_group,
        worst_group_accuracy=worst_group_accuracy,
        confidence=confidence,
        positive=counts_by_column[headline].positive,
    )


@dataclass(frozen=True)
class ClientSpread:
    """How test accuracy differs over clients; every client weighs the same, whatever its rows.

    Attributes:
        clients: clients with test rows; all figures are over these.
        without_rows: clients without, left out.
        too_small: of `clients`, how many have fewer test rows than one can speak about.
        mean: mean of the clients' accuracies; this and the rest are None where no client has test rows.
        standard_deviation: over the clients, divided by their number.
        min: lowest accuracy.
        max: highest accuracy.
        worst_10_percent: mean accuracy of the least accurate tenth (rounded down, at least one client).
    """

    clients: int
    without_rows: int
    too_small: int
    mean: float | None
    standard_deviation: float | None
    min: float | None
    max: float | None
    worst_10_percent: float | None

    def as_json(self) -> dict[str, Any]:
        """The spread as JSON-ready values."""
        return asdict(self)


def client_spread(correct: Integers, n: Integers, *, min_rows: int = 30) -> ClientSpread:
    """The spread of test accuracy over clients (the measures of Li et al. 2020, "Fair resource allocation").

    Args:
        correct: rows predicted right, shape `[clients]`.
        n: test rows, shape `[clients]`; clients with 0 are left out and counted.
        min_rows: clients with fewer test rows are counted as too small to say, at least 1.

    Raises:
        DataError: shapes differ, or no rows could give such counts.

    >>> spread = client_spread(np.array([90, 50, 0]), np.array([100, 100, 0]))
    >>> spread.mean, spread.worst_10_percent, spread.without_rows
    (0.7, 0.5, 1)
    """
    checks.positive(min_rows=min_rows)
    if correct.ndim != 1 or correct.shape != n.shape:
        raise DataError(f"fairness: {correct.shape} correct counts but {n.shape} row counts; give one each a client")
    if bool((correct < 0).any() or (correct > n).any()):
        raise DataError("fairness: a client's correct rows must lie between 0 and its rows")
    held = n > 0
    clients = int(held.sum())
    without, small = len(n) - clients, int((n[held] < min_rows).sum())
    if not clients:
        return ClientSpread(0, without, small, None, None, None, None, None)
    accuracy = np.sort(correct[held] / n[held])
    return ClientSpread(
        clients=clients,
        without_rows=without,
        too_small=small,
        mean=float(accuracy.mean()),
        standard_deviation=float(accuracy.std()),
        min=float(accuracy[0]),
        max=float(accuracy[-1]),
        worst_10_percent=float(accuracy[: max(1, clients // 10)].mean()),
    )
