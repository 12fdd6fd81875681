"""Argument checks whose messages name the argument.

For example `positive(clip_norm=0.0)` says `clip_norm must be > 0 and finite, got 0.0`. The checks raise `ValueError`.
They do not use `assert`, which Python's optimisation flag would remove.
"""

import math


def positive(**values: float) -> None:
    """Checks that each value is finite and > 0.

    >>> positive(clip_norm=1.0)
    >>> positive(clip_norm=0.0)
    Traceback (most recent call last):
    ...
    ValueError: clip_norm must be > 0 and finite, got 0.0
    """
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be > 0 and finite, got {value}")


def non_negative(**values: float) -> None:
    """Checks that each value is finite and >= 0.

    >>> non_negative(momentum=-0.5)
    Traceback (most recent call last):
    ...
    ValueError: momentum must be >= 0 and finite, got -0.5
    """
    for name, value in values.items():
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be >= 0 and finite, got {value}")


def probability(**values: float) -> None:
    """Checks that each value lies in [0, 1].

    >>> probability(sampling_rate=1.5)
    Traceback (most recent call last):
    ...
    ValueError: sampling_rate must lie in [0, 1], got 1.5
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")


def open_unit(**values: float) -> None:
    """Checks that each value lies strictly between 0 and 1.

    >>> open_unit(delta=0.0)
    Traceback (most recent call last):
    ...
    ValueError: delta must lie strictly between 0 and 1, got 0.0
    """
    for name, value in values.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
