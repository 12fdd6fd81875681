"""Guesses what the columns of a table are (numbers, categories, dates, ids), for a person to check."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np

from accord.core.errors import DataError
from accord.data.missing import MISSING_TEXTS
from accord.data.sources.table_file import Coded, TableFile, count_fields, open_table

_MARKS = MISSING_TEXTS | {"?", "NA"}
_DELIMITERS = (",", ";", "\t", "|")
_MOST_CATEGORIES = 100
_LEAST_DISTINCT = 20
"""The fewest values, all different, that suggest that a column is an id."""
_CODE_NAME = re.compile(r"(^|[ _-])(id|uuid|guid|key|index|zip|zipcode|postcode|postal|code|phone|ssn)($|[ _-])", re.I)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")
_SENSITIVE = re.compile(
    r"(^|[ _-])(sex|gender|race|ethnic\w*|religion|nationality|citizen\w*|marital\w*|disab\w*|native\w*)($|[ _-])", re.I
)
_LABELS = ("label", "target", "class", "y", "outcome")
"""Names that are a label's wherever the column stands."""
_TOPICS = ("diagnosis", "income", "risk", "default", "churn", "survived")
"""Names that are often a label's, but as often a feature's."""

Kind = Literal["number", "category", "date", "id", "empty", "constant", "index", "unread"]


@dataclass(frozen=True)
class GuessedColumn:
    """A column and the guess of its kind.

    Attributes:
        name: of the column.
        kind: what its values are.
        values: those that occur, without missing ones, in order of first occurrence.
        bounds: least and largest value of a number.
        missing: rows without a value.
        gaps: which rows these are, a bit each (`numpy.packbits`).
    """

    name: str
    kind: Kind
    values: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    missing: int = 0
    gaps: bytes = b""

    @property
    def sensitive(self) -> bool:
        """Whether its name suggests that it distinguishes groups of people."""
        return self.kind == "category" and bool(_SENSITIVE.search(self.name)) and 2 <= len(self.values) <= 20


@dataclass(frozen=True)
class GuessedTable:
    """A table's columns.

    Attributes:
        path: the file.
        delimiter: between the fields of a line of text.
        rows: how many rows.
        columns: in the file's order.
    """

    path: Path
    delimiter: str
    rows: int
    columns: tuple[GuessedColumn, ...]

    def rows_with_gaps(self, names: Iterable[str]) -> int:
        """Counts the rows without a value in one or more of some columns."""
        wanted = set(names)
        masks = [np.frombuffer(column.gaps, dtype=np.uint8) for column in self.columns if column.name in wanted]
        return sum(int(byte).bit_count() for byte in np.bitwise_or.reduce(masks)) if masks else 0

    def column(self, name: str) -> GuessedColumn | None:
        """Returns the column of that name."""
        return next((column for column in self.columns if column.name == name), None)


def guess_table(path: Path) -> GuessedTable:
    """Reads a table and guesses the kinds of its columns.

    Raises:
        DataError: the file is missing, damaged or empty.
    """
    delimiter, file = _opened(path)
    columns, rows = [], 0
    for name in file.names:
        if name in file.index:
            columns.append(GuessedColumn(name, "index"))
            continue
        try:
            # One column at a time and as texts, so that one that cannot be read does not hide the others.
            frame = file.read([], [name], _MARKS)
        except DataError:
            if path.suffix != ".parquet":
                raise  # of a text file no column is bad alone
            columns.append(GuessedColumn(name, "unread"))
            continue
        rows = frame.rows
        column = frame.texts[name]
        known = [code for code, value in enumerate(column.values) if value not in _MARKS]
        gaps = np.packbits(~np.isin(column.codes, known)).tobytes()
        columns.append(replace(_guess(name, column, frame.rows), gaps=gaps))
    if not rows:
        raise DataError(f"{path}: no column can be read; a table needs numbers or texts")
    return GuessedTable(path, delimiter, rows, tuple(columns))


def guess_label(table: GuessedTable) -> str | None:
    """Guesses the label by its name, or takes the last column where it has few values. None where neither fits."""
    usable = {column.name.lower(): column for column in table.columns if column.kind in ("number", "category")}
    by_name = [usable[name].name for name in _LABELS if name in usable]
    last = [column.name for column in table.columns[-1:] if column in usable.values() and 2 <= len(column.values) <= 20]
    by_topic = [usable[name].name for name in _TOPICS if name in usable]
    return next(iter([*by_name, *last, *by_topic]), None)


def _opened(path: Path) -> tuple[str, TableFile]:
    """Opens the table with the delimiter that makes most columns of its first line."""
    if path.suffix == ".parquet":
        return ",", open_table(path)
    # Not by which delimiter opens: a column that is there twice would make one column of the whole line.
    # `max` takes the first of equals, so a comma goes before the others.
    delimiter = max(_DELIMITERS, key=lambda each: count_fields(path, each))
    return delimiter, open_table(path, delimiter)


def _guess(name: str, column: Coded, rows: int) -> GuessedColumn:
    known = [code for code, value in enumerate(column.values) if value not in _MARKS]
    values = tuple(column.values[code] for code in known)
    missing = rows - int(np.isin(column.codes, known).sum())
    if len(values) < 2:
        return GuessedColumn(name, "constant" if values else "empty", values, None, missing)
    different = len(values) == rows - missing and len(values) >= _LEAST_DISTINCT
    # Dates first: nearly all of them differ, which would make an id of the column.
    if all(map(_is_date, values)):
        return GuessedColumn(name, "date", values, None, missing)
    numbers = _numbers(values)
    if numbers is None:
        # Free text has more values than a category, or more than one for every two rows.
        many = len(values) > _MOST_CATEGORIES or (len(values) > _LEAST_DISTINCT and 2 * len(values) > rows - missing)
        return GuessedColumn(name, "id" if different or many else "category", values, None, missing)
    coded = bool(_CODE_NAME.search(name))
    # Numbers without a gap that all differ count the rows, in their order or shuffled.
    counted = bool((np.diff(numbers) == 1).all() or (np.diff(np.sort(numbers)) == 1).all())
    if different and (numbers % 1 == 0).all() and (coded or counted):
        return GuessedColumn(name, "id", values, None, missing)
    # A postcode is made of digits but is no quantity.
    if coded or _has_zero_in_front(values):
        kind: Kind = "category" if len(values) <= _MOST_CATEGORIES else "id"
        return GuessedColumn(name, kind, values, None, missing)
    return GuessedColumn(name, "number", values, (float(numbers.min()), float(numbers.max())), missing)


def _is_date(value: str) -> bool:
    if not _DATE.fullmatch(value):
        return False
    try:
        date.fromisoformat(value[:10])
    except ValueError:
        return False
    return True


def _numbers(values: Sequence[str]) -> "np.ndarray[tuple[int], np.dtype[np.float64]] | None":
    """Returns the values as numbers. None where a value is no number, or not finite."""
    try:
        numbers = np.array([float(value) for value in values], dtype=np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _has_zero_in_front(values: Iterable[str]) -> bool:
    return any(len(value) > 1 and value[0] == "0" and value[1].isdecimal() for value in values)
