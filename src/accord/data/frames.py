"""Reads tables in memory, a dict of columns or a pandas `DataFrame`, as a table's file is read."""

from collections.abc import Callable, Mapping
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
        DataError: a column is missing or unknown, the lengths differ, or a number cannot be read.
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

    numbers = {name: _numbers(values[name], name, wanted, locate) for name in wanted.number_names()}
    texts = {name: _coded(values[name]) for name in wanted.category_names()}
    return Frame(lengths.pop(), numbers, texts, locate)


def _numbers(values: NDArray[Any], name: str, wanted: TableInput, locate: Callable[[int], str]) -> Numbers:
    found = np.empty(len(values), dtype=np.float64)
    for row, value in enumerate(values.tolist()):
        text = value.strip() if isinstance(value, str) else value
        try:
            missing = is_missing(text) or text in wanted.missing_values
            found[row] = np.nan if missing else float(text)
        except (TypeError, ValueError) as error:
            raise DataError(f"{locate(row)}: {name} {value!r} is no number") from error
        if np.isinf(found[row]):
            raise DataError(f"{locate(row)}: {name} {value!r} is no finite number")
    return found


def _coded(values: NDArray[Any]) -> Coded:
    known: dict[str, int] = {}
    codes = [
        -1 if is_missing(value) else known.setdefault(_text(value).strip(), len(known)) for value in values.tolist()
    ]
    return Coded(np.array(codes, dtype=np.int64), tuple(known))


def _text(value: Any) -> str:
    # Whole numbers that pandas has made floating-point, because a value of the column is missing.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
