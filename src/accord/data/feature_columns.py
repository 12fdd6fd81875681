"""Converts columns of a table to features: a number scaled by a range, or a category one-hot over its values."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from accord.data.class_names import spellings
from accord.data.date_columns import DateColumn
from accord.data.row_problems import RowProblem, refuse_rows, rows_where
from accord.data.sources.table_file import Frame, Numbers

Outside = Literal["refuse", "extend", "clamp"]
"""Whether a number outside of its range is refused, scaled beyond [0, 1], or moved to the range's nearer end."""


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers that is one feature.

    Attributes:
        name: of the column.
        range: low and high in the column's unit. None leaves its values as they are.
        scaled_to: what low and high become.
        logarithmic: whether values, low and high are first replaced by log(1 + value).
        outside: what becomes of a value that is not in the range.
        missing: what stands in for a missing value. None refuses it.
    """

    name: str
    range: tuple[float, float] | None = None
    scaled_to: tuple[float, float] = (0.0, 1.0)
    logarithmic: bool = False
    outside: Outside = "refuse"
    missing: float | None = None

    @property
    def width(self) -> int:
        """The number of features."""
        return 1

    def problems(self, frame: Frame) -> list[RowProblem]:
        """Finds the rows whose value is missing, no number, or outside of the range."""
        values, strange = frame.numbers[self.name], frame.strange.get(self.name, {})
        unread = np.zeros(len(values), dtype=np.bool_)
        unread[list(strange)] = True
        found = rows_where(unread, lambda row: f"{self.name} {strange[row]!r} is no finite number")
        if self.missing is None:
            gaps = np.isnan(values) & ~unread
            found += rows_where(gaps, lambda row: f"{self.name} is missing; give it a number", gap=True)
        else:
            values = np.where(np.isnan(values), self.missing, values)
        if self.range is None:
            return found
        low, high = self.range
        if self.outside == "refuse":
            mend = f"is outside of the range {low:g} to {high:g} that the model was trained for"
            outside = (values < low) | (values > high)
            found += rows_where(outside, lambda row: f"{self.name} {values[row]:g} {mend}")
        elif self.outside == "clamp":
            values = np.clip(values, low, high)
        # After the clamp, so that a clamped value has a logarithm.
        if self.logarithmic and self.outside != "refuse":
            below = values < 0
            found += rows_where(below, lambda row: f"{self.name} {values[row]:g} is below 0, so it has no logarithm")
        return found

    def features(self, frame: Frame) -> NDArray[np.float64]:
        """Computes the scaled values, shape `[n, 1]`.

        Raises:
            DataError: a value is missing or outside of its range. The message names row and column.
        """
        refuse_rows(self.problems(frame), frame.locate)
        values = frame.numbers[self.name]
        if self.missing is not None:
            values = np.where(np.isnan(values), self.missing, values)
        return self._scaled(values)[:, None]

    def _scaled(self, values: Numbers) -> Numbers:
        if self.range is None:
            return values
        low, high = self.range
        if self.outside == "clamp":
            values = np.clip(values, low, high)
        if self.logarithmic:
            low, high, values = float(np.log1p(low)), float(np.log1p(high)), np.log1p(values)
        # A range of one value gives 0, not NaN.
        share = (values - low) / ((high - low) or 1.0)
        first, last = self.scaled_to
        return share if (first, last) == (0.0, 1.0) else first + (last - first) * share

    def as_json(self) -> dict[str, Any]:
        """Returns this as plain values for `model.json`."""
        return {
            "name": self.name,
            "kind": "number",
            "range": None if self.range is None else list(self.range),
            "scaled_to": list(self.scaled_to),
            "logarithmic": self.logarithmic,
            "outside": self.outside,
            "missing": self.missing,
        }


@dataclass(frozen=True)
class CategoryColumn:
    """A column of texts, with one feature per value that is 1 where a row has the value, else 0.

    Attributes:
        name: of the column.
        values: the values that it may have, in the order of the features.
        missing: the value that stands for a missing one. None refuses it.
    """

    name: str
    values: tuple[str, ...]
    missing: str | None = None

    @property
    def width(self) -> int:
        """The number of features."""
        return len(self.values)

    def problems(self, frame: Frame) -> list[RowProblem]:
        """Finds the rows whose value is missing or none of the known ones."""
        column, codes = frame.texts[self.name], self._codes(frame)

        def unknown(row: int) -> str:
            value = column.values[int(column.codes[row])]
            return f"{self.name} {value!r} is none of the values that the model knows{nearest_of(value, self.values)}"

        gaps = rows_where(codes == -1, lambda row: f"{self.name} is missing; give it a value", gap=True)
        return [*gaps, *rows_where(codes == -2, unknown)]

    def features(self, frame: Frame) -> NDArray[np.float64]:
        """Computes one-hot features, shape `[n, len(values)]`.

        Raises:
            DataError: a value is missing or none of the known ones. The message names row and column.
        """
        refuse_rows(self.problems(frame), frame.locate)
        one_hot = np.zeros((frame.rows, self.width))
        one_hot[np.arange(frame.rows), self._codes(frame)] = 1
        return one_hot

    def _codes(self, frame: Frame) -> NDArray[np.int64]:
        """Returns each row's place among the values, -1 where it is missing, -2 where it is none of them."""
        column, known = frame.texts[self.name], {value: code for code, value in enumerate(self.values)}
        gap = -1 if self.missing is None else known.get(self.missing, -1)
        # A mark such as "NA" is a category where the study has named it as one.
        spelled = spellings(column.values, self.values)  # 1.0 is the category "1"
        # One entry more than there are values: code -1 (missing) finds the last. -2 is a value that nobody knows.
        code_of = np.array([known.get(spelled[value], -2) for value in column.values] + [gap], dtype=np.int64)
        return np.asarray(code_of[column.codes])

    def as_json(self) -> dict[str, Any]:
        """Returns this as plain values for `model.json`."""
        return {"name": self.name, "kind": "category", "values": list(self.values), "missing": self.missing}


Column = NumberColumn | CategoryColumn | DateColumn


def nearest_of(word: str, known: Iterable[str]) -> str:
    """Returns a hint at the name meant, and the names known, for the end of an error message."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    listed = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return f"; did you mean {close[0]!r}? (known: {listed})" if close else f" (known: {listed})"
