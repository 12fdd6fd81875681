"""What is wrong with single values of a table, so that it can be told all at once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import DataError

_MOST_TOLD = 5


@dataclass(frozen=True)
class RowProblem:
    """One thing that is wrong with a column in some rows.

    Attributes:
        rows: those rows, ascending.
        text: maps such a row to what is wrong and the mend, without the place.
        gap: whether it is that a value is missing.
    """

    rows: NDArray[np.int64]
    text: Callable[[int], str]
    gap: bool = False


def rows_where(wrong: NDArray[np.bool_], text: Callable[[int], str], gap: bool = False) -> list[RowProblem]:
    """Returns the problem of the rows that are marked, or an empty list where there are none."""
    rows = np.flatnonzero(wrong)
    return [RowProblem(rows, text, gap)] if len(rows) else []


def refuse_rows(problems: Iterable[RowProblem], locate: Callable[[int], str]) -> None:
    """Refuses rows with problems.

    Args:
        problems: of all columns.
        locate: maps a row to its place.

    Raises:
        DataError: there are any. It has a line for each of the first few, and one with the number of others.
    """
    found = list(problems)
    # Of each problem the first few rows are enough for the first few of all.
    first = sorted((int(row), at) for at, each in enumerate(found) for row in each.rows[:_MOST_TOLD])[:_MOST_TOLD]
    if not first:
        return
    told = [f"{locate(row)}: {found[at].text(row)}" for row, at in first]
    values = sum(len(each.rows) for each in found)
    if values > len(told):
        rows = len(np.unique(np.concatenate([each.rows for each in found])))
        told.append(f"and {values - len(told):,} more values that do not fit, in {rows:,} rows altogether")
    raise DataError("\n".join(told), tuple(told))
