"""Rates and gaps of counts as lists and None, as tests compare them."""

import math
from collections.abc import Mapping

from accord.fairness import gaps as module
from accord.fairness.groups import GroupCounts
from accord.fairness.measures import Interval
from accord.fairness.rates import RATES_BY_GROUP, rate_ends, rate_values


def rates(counts: GroupCounts) -> dict[str, list[float | None]]:
    """Each of `RATES`, one value a group in the order of `counts.names`; None where `rate_values` has NaN."""
    return {
        name: [None if math.isnan(value) else value for value in values.tolist()]
        for name, values in rate_values(counts).items()
    }


def rate_intervals(counts: GroupCounts, confidence: float) -> dict[str, list[Interval | None]]:
    """The Wilson interval of each of `RATES`, one a group; None where the rate is."""
    return {
        name: [
            None if math.isnan(low) else (low, high)
            for low, high in zip(*(each.tolist() for each in ends), strict=True)
        ]
        for name, ends in rate_ends(counts, confidence).items()
    }


def gaps(counts: GroupCounts) -> dict[str, float | None]:
    """Each of `GAPS` by name; None where no group's rate is defined, or a ratio is 0/0."""
    return module.gap_values(RATES_BY_GROUP, counts)


def gap_intervals(counts: GroupCounts, confidence: float) -> Mapping[str, Interval | None]:
    """The interval of each of `GAPS` by name; see `accord.fairness.gaps`."""
    return module.gap_intervals(RATES_BY_GROUP, counts, confidence)
