"""Targets that are numbers: as they are, or scaled by a range that the study declares; nothing is read off the rows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import DataError
from accord.data.federated import Rows

Range = tuple[float, ...]


def scaled_target(
    values: NDArray[np.float64], bounds: Range | None, rows: Rows, place: Callable[[int], str]
) -> NDArray[np.float32]:
    """Numbers to predict, `[low, high]` mapped to [0, 1]; as they are where there is no range.

    Args:
        values: shape `[n]`.
        bounds: low and high.
        rows: which of them are used; only these are checked.
        place: says of a row where it stands and what its number is called.

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
            f"{place(row)} {values[row]:g} is outside of its range {low:g} to {high:g}; mend it, or widen "
            "data.target_range"
        )
    scaled = values if bounds is None else (values - low) / (high - low)
    with np.errstate(over="ignore"):
        found = scaled.astype(np.float32)
    huge = rows[~np.isfinite(found[rows])]
    if len(huge):
        row = int(huge.min())
        raise DataError(f"{place(row)} {values[row]:g} is too large a number; give data.target_range")
    return found
