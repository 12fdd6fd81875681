"""Intervals of rates whose counts carry Gaussian noise besides the chance of the sample.

Let a rate be x / d, and let independent noise of standard deviation s lie on each cell of the counts, of which k sum to
d. By the delta method the noise moves the rate with a variance of at most `k s^2 / d^2`, since the numerator's cells
enter with a weight of 1 - p and the others with -p. The interval of the sample (Wilson 1927) and that of the noise, at
the same confidence, are added end by end. The sum of two half-widths is at least the root of their squares' sum, by
which independent errors add up, so the interval is conservative.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from accord.fairness.measures import Ends, GroupMeasures, Sums


def with_noise(measures: GroupMeasures[Sums], std: float, cells: int) -> GroupMeasures[Sums]:
    """Returns measures of rates whose intervals cover the noise of the counts, too.

    Args:
        measures: what is measured, of which each is a rate in [0, 1].
        std: standard deviation of the noise on each cell. 0 leaves the measures as they are.
        cells: cells that a rate's denominator is a sum of, at most.
    """
    if std == 0:
        return measures

    def intervals(sums: Sums, confidence: float) -> Mapping[str, Ends]:
        quantile = float(norm.ppf((1 + confidence) / 2))
        rests_on = measures.denominators(sums)
        found = {}
        for name, (low, high) in measures.intervals(sums, confidence).items():
            rows = np.asarray(rests_on.get(name, sums.n), dtype=np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                noise = np.where(rows > 0, quantile * std * math.sqrt(cells) / rows, math.nan)
            found[name] = (np.clip(low - noise, 0, 1), np.clip(high + noise, 0, 1))
        return found

    return replace(measures, intervals=intervals)
