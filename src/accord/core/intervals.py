"""Computes means over seeds and their t-intervals, which show how precisely a few runs determine a mean.

The runs of one study under different seeds are treated as independent draws from an approximately normal distribution.
The interval is then Student's, mean ± t(1 - (1 - c)/2; n - 1) s / sqrt(n) (Student 1908, "The Probable Error of a
Mean").
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # scikit-learn brings scipy; scipy.stats would take a second to import


@dataclass(frozen=True)
class Interval:
    """A mean over runs, with its interval.

    Attributes:
        n: number of known values.
        mean: their mean. None where there are none.
        deviation: their standard deviation, with divisor n - 1. None for fewer than two.
        low: lower end of the mean's interval. None for fewer than two.
        high: upper end of the mean's interval. None for fewer than two.
    """

    n: int
    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None

    @property
    def half(self) -> float | None:
        """Half the interval's width, which is printed after ±. None for fewer than two values."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def t_interval(values: Iterable[float | None], confidence: float = 0.95) -> Interval:
    """The mean of the known values, with its t-interval.

    Args:
        values: one value a run. None and numbers that are not finite are left out.
        confidence: share of such intervals that contain the true mean, strictly between 0 and 1.

    >>> found = t_interval([0.25, 0.5, 0.75])
    >>> found.mean, found.deviation, f"{found.low:.3f} to {found.high:.3f}"
    (0.5, 0.25, '-0.121 to 1.121')
    >>> t_interval([0.5, None])
    Interval(n=1, mean=0.5, deviation=None, low=None, high=None)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    known = np.array([value for value in values if value is not None and math.isfinite(value)], dtype=np.float64)
    n = len(known)
    if n == 0:
        return Interval(0, None, None, None, None)
    mean = math.fsum(known) / n
    if n == 1:
        return Interval(1, mean, None, None, None)
    deviation = math.sqrt(math.fsum((known - mean) ** 2) / (n - 1))
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * deviation / math.sqrt(n)
    return Interval(n, mean, deviation, mean - half, mean + half)
