"""Reads tables in memory, a dict of columns or a pandas `DataFrame`, as a table's file is read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import DataError
from accord.data.missing import is_missing
from accord.data.preprocessing import TableInput
from accord.data.sources.table_file import Coded, Frame, Numbers


def frame_of(columns: Mapping[str, Any], wanted: TableInput, where: str) -> Frame:
    """Converts columns in memory to a frame.

    Args:
        columns: name to values, all of one length, as a dict or a pandas `DataFrame`.
        wanted: which of them to take, and how.
        where: what to call them in errors.

    Raises:
        DataError: a column is missing or unknown, or the lengths differ.
    """
    names = [str(name) for name in columns]
    wanted.check_names(names, where)
    values = {str(name): np.asarray(columns[name], dtype=object) for name in columns}
    used = [column.name for column in wanted.columns]
    lengths = {len(values[name]) for name in used}
    if len(lengths) > 1 or lengths == {0}:
        raise DataError(f"{where}: columns of {' and '.join(map(str, sorted(lengths)))} rows; give one or more of each")

    def locate(row: int) -> str:
        return f"{where}, row {row}"

    numbers, strange = {}, {}
    for name in wanted.number_names():
        numbers[name], strange[name] = _numbers(values[name], wanted)
    texts = {name: _coded(values[name]) for name in wanted.category_names()}
    return Frame(lengths.pop(), numbers, texts, locate, strange)


def _numbers(values: NDArray[Any], wanted: TableInput) -> tuple[Numbers, dict[int, Any]]:
    """Returns the values as numbers, and what is none by row."""
    found = np.empty(len(values), dtype=np.float64)
    strange: dict[int, Any] = {}
    for row, value in enumerate(values.tolist()):
        text = value.strip() if isinstance(value, str) else value
        try:
            missing = is_missing(text) or text in wanted.missing_values
            found[row] = np.nan if missing else float(text)
        except (TypeError, ValueError):
            found[row] = np.inf
        if np.isinf(found[row]):
            found[row], strange[row] = np.nan, value
    return found, strange


def _coded(values: NDArray[Any]) -> Coded:
    known: dict[str, int] = {}
    codes = [
        -1 if is_missing(value) else known.setdefault(_text(value).strip(), len(known)) for value in values.tolist()
    ]
    return Coded(np.array(codes, dtype=np.int64), tuple(known))


def _text(value: Any) -> str:
    # Whole numbers that pandas has made floating-point, because a value of the column is missing.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
