"""Reads tables from files: CSV and similar text with the standard library, Parquet with pyarrow.

A file is read column by column into arrays. Numbers become float64, everything else codes into the values that occur.
Rows are converted to arrays piece by piece, so that a long file is never in memory as Python objects.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import DataError
from accord.data.sources.places import read_bytes

_AT_ONCE = 50_000  # rows that are Python objects at one time
_INDEX = re.compile(r"Unnamed: \d+(\.\d+)?|__index_level_\d+__")
"""The names that pandas gives a frame's index without a name, when read from text and in Parquet."""
_INTEGER = re.compile(r"[+-]?\d+")
MOST_EXACT = 2**53
"""Up to this whole number, float64 represents every whole number exactly."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Coded:
    """A column of texts.

    Attributes:
        codes: shape `[n]`, each an index into `values`, or -1 where the file says that there is no value.
        values: those that occur, in order of first occurrence.
    """

    codes: NDArray[np.int64]
    values: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """The columns asked for.

    Attributes:
        rows: how many rows, n.
        numbers: column to float64 values of shape `[n]`, NaN where missing.
        texts: column to codes of shape `[n]`.
        locate: maps a row to its place for messages, such as `clinics.csv: line 17`.
        strange: column of numbers to the rows whose value is no number (NaN in `numbers`), and what it is.
    """

    rows: int
    numbers: Mapping[str, Numbers]
    texts: Mapping[str, Coded]
    locate: Callable[[int], str]
    strange: Mapping[str, Mapping[int, Any]] = field(default_factory=dict)

    def take(self, rows: NDArray[np.int64]) -> "Frame":
        """Returns some of the rows, which keep their places."""
        return Frame(
            len(rows),
            {name: values[rows] for name, values in self.numbers.items()},
            {name: Coded(column.codes[rows], column.values) for name, column in self.texts.items()},
            lambda row: self.locate(int(rows[row])),
        )


class TableFile(Protocol):
    """A file that contains a table.

    Attributes:
        names: its columns, in order.
        index: those columns that are the index of the pandas frame that was written, not its data.
    """

    names: tuple[str, ...]
    index: tuple[str, ...]

    def read(self, numbers: Sequence[str], texts: Sequence[str], missing: Collection[str]) -> Frame:
        """Reads some columns.

        Args:
            numbers: columns to read as numbers.
            texts: columns to read as texts. A column may be in both lists.
            missing: texts that stand for a missing number.

        Raises:
            DataError: the file is damaged, or a number cannot be read. The message names file, row and column.
        """
        ...


def open_table(path: Path, delimiter: str = ",", columns: Sequence[str] | None = None) -> TableFile:
    """Opens a table's file and reads its column names.

    Args:
        path: Parquet where it ends in `.parquet`, else UTF-8 text, gzipped or not.
        delimiter: between the fields of a line of text.
        columns: names for text without a first line of names.

    Raises:
        DataError: the file is missing or damaged, or names a column twice.
    """
    table = ParquetTable(path) if path.suffix == ".parquet" else TextTable(path, delimiter, columns)
    if twice := [name for index, name in enumerate(table.names) if name in table.names[:index]]:
        raise DataError(f"{path}: column {twice[0]!r} is there twice; give each column a name of its own")
    return table


def count_fields(path: Path, delimiter: str) -> int:
    """Counts the fields of a text file's first line. Returns 0 where it cannot be split so."""
    try:
        first = next(TextTable(path, delimiter, ())._pieces(1, headed=False))
    except DataError:
        return 0
    return len(first[0])


class TextTable:
    """A table of delimited text (RFC 4180 quoting). Blank lines are skipped and fields are stripped."""

    def __init__(self, path: Path, delimiter: str, columns: Sequence[str] | None) -> None:
        self.path = path
        self._content = read_bytes(path)
        self._delimiter = delimiter
        self._headed = columns is None
        # Only the first line is parsed here, so that names are known without reading the rows.
        first = next(self._pieces(1, headed=False), None)
        if first is None:
            raise DataError(f"{path}: the file is empty; it needs a line of column names and rows below it")
        self.names = tuple(columns) if columns is not None else _headings(path, first[0])
        self.index = tuple(name for name in self.names if _INDEX.fullmatch(name))

    def read(self, numbers: Sequence[str], texts: Sequence[str], missing: Collection[str]) -> Frame:
        """See `TableFile.read`."""
        known: dict[str, dict[str, int]] = {name: {} for name in texts}
        found: dict[str, list[Numbers]] = {name: [] for name in numbers}
        codes: dict[str, list[NDArray[np.int64]]] = {name: [] for name in texts}
        missing, surplus, done = frozenset(missing), None, 0
        for rows in self._pieces(_AT_ONCE, self._headed):
            if surplus is None:
                # A comma at each line's end makes a field that no column has. The first row shows whether there is one.
                surplus = len(rows[0]) - len(self.names) if not any(map(str.strip, rows[0][len(self.names) :])) else 0
            self._check_widths(rows, max(0, surplus), done)
            # Not strict in the outer zip: the surplus field of a comma at the line's end belongs to no name.
            fields = dict(zip(self.names, zip(*rows, strict=True), strict=False))
            for name in numbers:
                found[name].append(self._numbers(name, fields[name], missing, done))
            for name in texts:
                codes[name].append(_codes(fields[name], known[name]))
            done += len(rows)
        if not done:
            raise DataError(f"{self.path}: holds no rows")
        coded = {name: _stripped(np.concatenate(codes[name]), tuple(known[name])) for name in texts}
        return Frame(done, {name: np.concatenate(found[name]) for name in numbers}, coded, self.locate)

    def _check_widths(self, rows: Sequence[Sequence[str]], surplus: int, before: int) -> None:
        """Refuses a row with too few or too many fields, or with a value outside of every column."""
        width = len(self.names)
        for index, row in enumerate(rows):
            if len(row) != width + surplus:
                raise DataError(
                    f"{self.locate(before + index)} has {len(row)} fields, expected {width + surplus}; mend the line, "
                    "or set data.delimiter to what separates its fields"
                )
            if surplus and any(map(str.strip, row[width:])):
                raise DataError(
                    f"{self.locate(before + index)} has {row[width]!r} in a column without a name; give the column a "
                    "name in the first line"
                )

    def locate(self, row: int) -> str:
        """Returns the file and the line that a row ends on. Parses the text again, as only errors need it."""
        reader = self._reader()
        wanted = row + (1 if self._headed else 0)
        filled = (reader.line_num for fields in reader if fields)
        return f"{self.path}: line {next(islice(filled, wanted, None))}"

    def _reader(self) -> Any:
        # utf-8-sig drops the byte order mark that spreadsheets write; newline="" leaves line ends in quotes to csv.
        text = io.TextIOWrapper(io.BytesIO(self._content), encoding="utf-8-sig", newline="")
        return csv.reader(text, delimiter=self._delimiter, skipinitialspace=True, strict=True)

    def _pieces(self, size: int, headed: bool) -> Iterator[list[list[str]]]:
        """Yields up to `size` rows at a time, without blank ones and without the line of names."""
        reader = self._reader()
        rows = (row for row in reader if row)
        try:
            if headed:
                next(rows, None)
            while piece := list(islice(rows, size)):
                yield piece
        except csv.Error as error:
            raise DataError(f"{self.path}: line {reader.line_num}: {error}; mend the line") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.path}: line {self._undecodable()} is not UTF-8 text; save the file as UTF-8"
            ) from error

    def _undecodable(self) -> int:
        """Returns the first line that is not UTF-8. The reader decodes many lines at once, so it cannot tell."""
        try:
            self._content.decode()
        except UnicodeDecodeError as error:
            return self._content.count(b"\n", 0, error.start) + 1
        return 1

    def _numbers(self, name: str, fields: Sequence[str], missing: Collection[str], before: int) -> Numbers:
        try:
            # Fast path, since float() takes blanks around a number. A mark with blanks around it, or a bad field, sends
            # the piece through the path below.
            values = np.array([math.nan if field in missing else float(field) for field in fields])
        except ValueError:
            values = np.array([_number(field.strip(), missing) for field in fields])
        strange = np.flatnonzero(~np.isfinite(values))
        for row in strange.tolist():
            if fields[row].strip() not in missing:
                raise DataError(no_number(self.locate(before + row), name, fields[row].strip()))
        for row in np.flatnonzero(np.abs(values) >= MOST_EXACT).tolist():
            field = fields[row].strip()
            if _INTEGER.fullmatch(field) and int(field) != int(values[row]):
                raise DataError(_not_exact(self.locate(before + row), name, field))
        return values


def _headings(path: Path, fields: Sequence[str]) -> tuple[str, ...]:
    """Returns the column names from a file's first line.

    Columns without a name at the start are a frame's index, which pandas writes so. They get the names that
    `pandas.read_csv` gives them. Columns without a name at the end come from a comma at the line's end and are left
    out.

    Raises:
        DataError: a column between two others has no name.
    """
    names = [field.strip() for field in fields]
    while len(names) > 1 and not names[-1]:
        names.pop()
    named = next((at for at, name in enumerate(names) if name), len(names))
    for at in range(named):
        name = f"Unnamed: {at}"
        names[at] = f"{name}.1" if name in names else name
    if "" in names:
        raise DataError(f"{path}: column {names.index('') + 1} has no name; give it one in the first line")
    return tuple(names)


class ParquetTable:
    """A Parquet file, read by pyarrow."""

    def __init__(self, path: Path) -> None:
        try:
            from pyarrow import ArrowException, parquet
        except ImportError as error:
            raise DataError(f"{path}: reading Parquet needs pyarrow; pip install 'accord[tables]'") from error
        self.path = path
        try:
            self._table: Any = parquet.ParquetFile(path)
        except (ArrowException, OSError) as error:
            raise DataError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())})") from error
        self.names = tuple(self._table.schema_arrow.names)
        self.index = tuple(name for name in self.names if name in self._indexes() or _INDEX.fullmatch(name))

    def _indexes(self) -> frozenset[str]:
        """Returns the columns that pandas wrote as the frame's index and would restore as its index."""
        described = (self._table.schema_arrow.metadata or {}).get(b"pandas")
        found = json.loads(described).get("index_columns", []) if described else []
        return frozenset(each for each in found if isinstance(each, str))  # a range is no column

    def read(self, numbers: Sequence[str], texts: Sequence[str], missing: Collection[str]) -> Frame:
        """Reads some columns, see `TableFile.read`. Nulls and NaN are missing."""
        from pyarrow import ArrowException

        try:
            table = self._table.read(columns=[*dict.fromkeys([*numbers, *texts])])
        except (ArrowException, OSError) as error:
            raise DataError(f"{self.path}: damaged Parquet file ({' '.join(str(error).split())})") from error
        if not table.num_rows:
            raise DataError(f"{self.path}: holds no rows")
        found = {name: self._numbers(name, table.column(name)) for name in numbers}
        coded = {name: self._coded(name, table.column(name)) for name in texts}
        return Frame(table.num_rows, found, coded, self.locate)

    def locate(self, row: int) -> str:
        """Returns the file and the row, counted from 1."""
        return f"{self.path}: row {row + 1}"

    def _numbers(self, name: str, column: Any) -> Numbers:
        from pyarrow import float64, types

        kind = column.type
        if not (types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
            raise DataError(f"{self.path}: column {name!r} holds {kind}, no numbers; add it to data.categorical")
        # A safe cast would fail without naming the row; whole numbers that it would round are found below instead.
        values = np.asarray(column.cast(float64(), safe=False).to_numpy(), dtype=np.float64)
        if not types.is_floating(kind):
            for row in np.flatnonzero(np.abs(values) >= MOST_EXACT).tolist():
                exact = column[row].as_py()
                if exact != int(values[row]):
                    raise DataError(_not_exact(self.locate(row), name, str(exact)))
        if np.isinf(values).any():
            raise DataError(no_number(self.locate(int(np.isinf(values).argmax())), name, "inf"))
        return values

    def _coded(self, name: str, column: Any) -> Coded:
        from pyarrow import ArrowException, compute, scalar, string, types

        if types.is_floating(column.type):
            # As text, NaN would be the category "nan".
            column = compute.if_else(compute.is_nan(column), scalar(None, column.type), column)
        try:
            texts = column.cast(string()).combine_chunks().dictionary_encode()
        except ArrowException as error:
            raise DataError(f"{self.path}: column {name!r} holds {column.type}, which has no categories") from error
        codes = texts.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return _stripped(codes, tuple(texts.dictionary.to_pylist()))


def numbers_of_texts(frame: Frame, names: Sequence[str], missing: Collection[str]) -> Frame:
    """Converts columns of texts to numbers, and notes in `strange` what is none.

    >>> frame = Frame(3, {}, {"age": Coded(np.array([0, 1, -1]), ("40", "x"))}, str)
    >>> found = numbers_of_texts(frame, ["age"], [])
    >>> found.numbers["age"].tolist(), found.strange
    ([40.0, nan, nan], {'age': {1: 'x'}})
    """
    numbers, strange = dict(frame.numbers), {}
    for name in names:
        column = frame.texts[name]
        # Infinity stands for a text that is no number, and the last entry is what code -1 finds.
        values = np.array([*(_number(value, missing) for value in column.values), math.nan])[column.codes]
        wrong = np.flatnonzero(np.isinf(values)).tolist()
        strange[name] = {row: column.values[int(column.codes[row])] for row in wrong}
        numbers[name] = np.where(np.isinf(values), math.nan, values)
    texts = {name: column for name, column in frame.texts.items() if name not in names}
    return replace(frame, numbers=numbers, texts=texts, strange=strange)


def no_number(locate: str, column: str, value: str) -> str:
    """Returns the error message for a text where a number is needed."""
    return (
        f"{locate}: {column} {value!r} is no finite number; mend it, add it to data.missing_values, or "
        f"{column!r} to data.categorical"
    )


def _not_exact(locate: str, column: str, value: str) -> str:
    """Returns the error message for a whole number that float64 cannot represent."""
    return (
        f"{locate}: {column} {value} is above 2^53, so as a number it would be rounded; add {column!r} to "
        "data.categorical, or leave it out of data.features"
    )


def _number(field: str, missing: Collection[str]) -> float:
    if field in missing:
        return math.nan
    try:
        return float(field)
    except ValueError:
        return math.inf  # reported by the caller, together with numbers that are not finite


def _codes(fields: Sequence[str], known: dict[str, int]) -> NDArray[np.int64]:
    """Returns the codes of some fields. Values not known yet get the next codes."""
    for value in dict.fromkeys(fields):
        known.setdefault(value, len(known))
    return np.fromiter(map(known.__getitem__, fields), dtype=np.int64, count=len(fields))


def _stripped(codes: NDArray[np.int64], values: tuple[str, ...]) -> Coded:
    """Strips blanks around values. Values that become equal share one code."""
    return recoded(Coded(codes, values), [value.strip() for value in values])


def recoded(column: Coded, values: Sequence[str]) -> Coded:
    """Replaces each value by the one at its place in `values`, with equal ones under one code.

    >>> recoded(Coded(np.array([0, 1, 2, -1]), ("a", "b", "A")), ["a", "b", "a"])
    Coded(codes=array([ 0,  1,  0, -1]), values=('a', 'b'))
    """
    known = {value: code for code, value in enumerate(dict.fromkeys(values))}
    new = np.array([*(known[value] for value in values), -1], dtype=np.int64)  # -1 finds the last
    return Coded(new[column.codes], tuple(known))


def joined(first: Frame, second: Frame) -> Frame:
    """Joins the rows of two files with the same columns, one after the other."""
    texts = {}
    for name, column in first.texts.items():
        other = second.texts[name]
        values = (*column.values, *other.values)
        # The second file's codes follow the first's; `recoded` then gives values that are in both one code.
        shifted = np.where(other.codes < 0, -1, other.codes + len(column.values))
        texts[name] = recoded(Coded(np.concatenate([column.codes, shifted]), values), values)
    numbers = {name: np.concatenate([values, second.numbers[name]]) for name, values in first.numbers.items()}

    def locate(row: int) -> str:
        return first.locate(row) if row < first.rows else second.locate(row - first.rows)

    return Frame(first.rows + second.rows, numbers, texts, locate)
