"""Decides what stands for a missing value, in the same way for all sources of rows."""

from typing import Any

MISSING_TEXTS = frozenset({"", "nan", "NaN", "None", "<NA>", "NaT"})
"""What pandas, NumPy and Python write where a value is missing. As texts they are no class and no group."""


def is_missing(value: Any) -> bool:
    """Tells whether a value is None, NaN, `pandas.NA`, NaT, or a text that stands for one of them.

    >>> [is_missing(value) for value in (None, float("nan"), " NaN ", "", "n", 0, False)]
    [True, True, True, True, False, False, False]
    """
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip() in MISSING_TEXTS
    try:
        return not bool(value == value)  # NaN and NaT do not equal themselves
    except TypeError:
        return True  # pandas.NA: whether it equals itself is missing too
    except ValueError:
        return False  # an array, which is no single value
