"""Converts a column of dates to features, by a named rule."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from math import pi
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import DataError
from accord.data.row_problems import RowProblem, rows_where
from accord.data.sources.table_file import Coded, Frame

Rule = Literal["year-month-day", "days_since", "cyclic"]
_WIDTHS: dict[Rule, int] = {"year-month-day": 3, "days_since": 1, "cyclic": 4}
_UNREAD = -1
_WRITE_AS = "write it as YYYY-MM-DD, such as 2024-12-31"


@dataclass(frozen=True)
class DateColumn:
    """A column of dates.

    Attributes:
        name: of the column.
        rule: `year-month-day` is three features. The year is scaled by `years`, the month and the day by their
            calendar, so that January and the 1st are 0, December and the 31st are 1. `days_since` is one feature, the
            days since 1 January of the first of `years`, scaled so that 31 December of the last is 1. `cyclic` is four
            features, sine and cosine of the place in the year, and in the week from Monday, as scikit-learn's example
            of cyclic features.
        years: the first and the last, or None with the rule `cyclic`, which needs none.
        outside: whether a date of another year is refused, moved to the first or last day of `years`, or scaled beyond.
        missing: the date that stands in for a missing one. None refuses it.
    """

    name: str
    rule: Rule
    years: tuple[int, int] | None = None
    outside: Literal["refuse", "extend", "clamp"] = "refuse"
    missing: str | None = None

    @property
    def width(self) -> int:
        """The number of features."""
        return _WIDTHS[self.rule]

    def problems(self, frame: Frame) -> list[RowProblem]:
        """Finds the rows whose value is missing, no date, or of a year outside of `years`."""
        column = frame.texts[self.name]
        # The last entry is what code -1 (missing) finds.
        days = np.array([*(_day(value) for value in column.values), _UNREAD], dtype=np.int64)[column.codes]
        absent = column.codes < 0
        gaps = absent if self.missing is None else np.zeros_like(absent)
        found = rows_where(gaps, lambda row: f"{self.name} is missing; give it a date", gap=True)
        found += rows_where(
            (days == _UNREAD) & ~absent,
            lambda row: f"{self.name} {column.values[int(column.codes[row])]!r} is no date; {_WRITE_AS}",
        )
        if self.years is not None and self.outside == "refuse":
            first, last = date(self.years[0], 1, 1).toordinal(), date(self.years[1], 12, 31).toordinal()
            found += rows_where(
                (days != _UNREAD) & ((days < first) | (days > last)), lambda row: self._outside(int(days[row]))
            )
        return found

    def _outside(self, day: int) -> str:
        first, last = self.years or (0, 0)
        return (
            f"{self.name} {date.fromordinal(day)} is outside of its years {first} to {last}; mend it, widen "
            f"data.ranges.{self.name}, or set data.clamp"
        )

    def features(self, frame: Frame) -> NDArray[np.float64]:
        """Computes the features of all rows, shape `[n, width]`.

        Raises:
            DataError: a value is missing, no date, or of a year outside of `years`. The message names row and column.
        """
        return self.features_of(frame, np.arange(frame.rows))

    def features_of(self, frame: Frame, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Computes `features` of some rows."""
        column = frame.texts[self.name]
        values = column.values if self.missing is None else (*column.values, self.missing)
        codes = column.codes[rows]
        # The stand-in is the last value, so a missing one gets its code.
        codes = codes if self.missing is None else np.where(codes < 0, len(column.values), codes)
        if (codes < 0).any():
            row = int(rows[int((codes < 0).argmax())])
            raise DataError(f"{frame.locate(row)}: {self.name} is missing; give it a date")
        days = ordinals(Coded(codes, values), lambda at: frame.locate(int(rows[at])), self.name)
        return self._of_days(days, lambda at: frame.locate(int(rows[at])))

    def _of_days(self, days: NDArray[np.int64], locate: Callable[[int], str]) -> NDArray[np.float64]:
        """Computes the features of days, counted as `date.toordinal` does."""
        distinct, where = np.unique(days, return_inverse=True)
        if self.years is not None:
            first, last = date(self.years[0], 1, 1).toordinal(), date(self.years[1], 12, 31).toordinal()
            if self.outside == "clamp":
                distinct = np.clip(distinct, first, last)
            strange = (distinct < first) | (distinct > last)
            if self.outside == "refuse" and strange.any():
                row = int(strange[where].argmax())
                raise DataError(f"{locate(row)}: {self._outside(int(days[row]))}")
        # Few days are distinct, so each is worked out once.
        return np.array([self._of_day(date.fromordinal(int(day))) for day in distinct])[where]

    def _of_day(self, day: date) -> list[float]:
        if self.rule == "cyclic":
            # The year after 9999 is no date in Python.
            length = date(day.year + 1, 1, 1).toordinal() - date(day.year, 1, 1).toordinal() if day.year < 9999 else 365
            year = 2 * pi * (day.timetuple().tm_yday - 1) / length
            week = 2 * pi * day.weekday() / 7
            return [float(np.sin(year)), float(np.cos(year)), float(np.sin(week)), float(np.cos(week))]
        low, high = self.years or (day.year, day.year)
        if self.rule == "days_since":
            first, last = date(low, 1, 1).toordinal(), date(high, 12, 31).toordinal()
            return [(day.toordinal() - first) / (last - first)]
        # One year alone is 0, not a division by zero.
        return [(day.year - low) / ((high - low) or 1), (day.month - 1) / 11, (day.day - 1) / 30]

    def as_json(self) -> dict[str, Any]:
        """Returns this as plain values for `model.json`."""
        return {
            "name": self.name,
            "kind": "date",
            "rule": self.rule,
            "years": None if self.years is None else list(self.years),
            "outside": self.outside,
            "missing": self.missing,
        }


def ordinals(column: Coded, locate: Callable[[int], str], name: str) -> NDArray[np.int64]:
    """Returns each row's day, counted as `date.toordinal` does, shape `[n]`. A time of day is ignored.

    Args:
        column: texts, none of them missing.
        locate: maps a row to its place for messages.
        name: of the column.

    Raises:
        DataError: a text is no date of the form YYYY-MM-DD. The message names the row.
    """
    # Each distinct text is parsed once. Without any, one entry keeps the lookup by code -1 in range.
    days = np.array([_day(value) for value in column.values] or [_UNREAD], dtype=np.int64)[column.codes]
    if (days == _UNREAD).any():
        row = int((days == _UNREAD).argmax())
        value = column.values[int(column.codes[row])]
        raise DataError(f"{locate(row)}: {name} {value!r} is no date; {_WRITE_AS}")
    return days


def _day(value: str) -> int:
    text = value[:10]
    try:
        # 20240131 is refused: it may as well be a number.
        return date.fromisoformat(text).toordinal() if text[4:5] == text[7:8] == "-" else _UNREAD
    except ValueError:
        return _UNREAD
