"""Numeric targets, unchanged or scaled by a range that the study declares. Nothing is read off the rows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import DataError
from accord.data.federated import Rows

Range = tuple[float, ...]


def scaled_target(
    values: NDArray[np.float64], bounds: Range | None, rows: Rows, locate: Callable[[int], str]
) -> NDArray[np.float32]:
    """Maps numbers to predict from `[low, high]` to [0, 1], or leaves them unchanged where there is no range.

    Args:
        values: shape `[n]`.
        bounds: low and high.
        rows: which of them are used. Only these are checked.
        locate: maps a row to its place in messages, with the name of its number.

    Raises:
        DataError: a number is outside of its range, or too large for a float32.

    >>> scaled_target(np.array([50.0, 100.0]), (0.0, 200.0), np.arange(2), str).tolist()
    [0.25, 0.5]
    """
    low, high = (-np.inf, np.inf) if bounds is None else bounds
    strange = rows[(values[rows] < low) | (values[rows] > high)]
    if len(strange):
        row = int(strange.min())
        raise DataError(
            f"{locate(row)} {values[row]:g} is outside of its range {low:g} to {high:g}; mend it, or widen "
            "data.target_range"
        )
    scaled = values if bounds is None else (values - low) / (high - low)
    with np.errstate(over="ignore"):
        found = scaled.astype(np.float32)
    huge = rows[~np.isfinite(found[rows])]
    if len(huge):
        row = int(huge.min())
        raise DataError(f"{locate(row)} {values[row]:g} is too large a number; give data.target_range")
    return found
