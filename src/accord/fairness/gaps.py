"""Gaps between groups, each with an interval that contains the gap itself.

Let m_g be the measure of group g, with its own confidence interval [l_g, u_g], over the groups where it is defined. The
two forms of a gap are

    difference = max over pairs (g, h) of m_g - m_h          ratio = min over pairs (g, h) of m_g / m_h

**Difference.** One pair has the interval of Newcombe 1998 ("Interval estimation for the difference between independent
proportions", Statistics in Medicine 17, method 10). It combines the groups' own intervals, which are Wilson's for a
rate:

    low(g, h)  = m_g - m_h - sqrt((m_g - l_g)^2 + (u_h - m_h)^2)
    high(g, h) = m_g - m_h + sqrt((u_g - m_g)^2 + (m_h - l_h)^2)

The same formula for any measure with intervals of its own is MOVER, the method of variance estimates recovery (Zou and
Donner 2008). At confidence 1 - a/p, where p counts the unordered pairs, all pairs' intervals are right at once with
probability at least 1 - a (Bonferroni). If they are, the largest difference is in

    [max(0, max over pairs of low(g, h)), max over pairs of high(g, h)]

For two groups this is Newcombe's interval of the difference, folded at 0. For more groups it is conservative. Unlike a
percentile bootstrap, it always contains the observed gap, and it has a width where the groups' own intervals have one.
For example, a model that selects nobody in 10 and in 20 rows shows a gap of 0, and an interval of 0 to 0.28.

**Ratio.** With the groups' intervals at confidence 1 - a/k over k groups, all are right at once with probability at
least 1 - a. If they are, the ratio is in

    [min of l_g / max of u_g, min(1, min of u_g / max of l_g)]

A gap over several measures (TPR and FPR for equalised odds) is the widest of theirs, and a is shared among them.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from accord.core import checks
from accord.fairness.measures import Ends, Floats, Gap, GroupMeasures, Interval, Sums

_SINGLE_GROUP: Mapping[str, Interval] = {"difference": (0.0, 0.0), "ratio": (1.0, 1.0)}
"""The value of a gap by definition where a single group is left."""


def gap_values(measures: GroupMeasures[Sums], sums: Sums) -> dict[str, float | None]:
    """Computes each gap of `measures` by name, or None where no group's measure is defined or a ratio is 0/0.

    Groups where a measure is undefined are left out of its gaps. A single group has differences of 0 and ratios of 1.
    """
    values = measures.values(sums)
    return {gap.name: gap_value(gap, values) for gap in measures.gaps}


def gap_value(gap: Gap, values: Mapping[str, Floats]) -> float | None:
    """Computes one gap from each measure's values, shape `[groups]`, NaN where undefined."""
    if gap.form == "difference":
        found = [_difference(values[name]) for name in gap.measures]
        return max((each for each in found if each is not None), default=None)
    found = [_ratio(values[name]) for name in gap.measures]
    return min((each for each in found if each is not None), default=None)


def gap_intervals(measures: GroupMeasures[Sums], sums: Sums, confidence: float) -> dict[str, Interval | None]:
    """Computes the interval of each gap of `measures` by name, as the module's docstring describes.

    The interval is None where the gap is undefined, where a single group is left (its gap is 0 by definition), and
    where a group that takes part has no interval of its own.

    Raises:
        ValueError: `confidence` is not strictly between 0 and 1.
    """
    checks.open_unit(confidence=confidence)
    values = measures.values(sums)

    def ends(level: float) -> Mapping[str, Ends]:
        return measures.intervals(sums, level)

    return {gap.name: _interval(gap, values, ends, confidence) for gap in measures.gaps}


def _interval(
    gap: Gap, values: Mapping[str, Floats], ends: Callable[[float], Mapping[str, Ends]], confidence: float
) -> Interval | None:
    value_of, interval = (_difference, _difference_interval) if gap.form == "difference" else (_ratio, _ratio_interval)
    names = [name for name in gap.measures if value_of(values[name]) is not None]
    groups = {name: np.flatnonzero(np.isfinite(values[name])) for name in names}
    if not names or all(len(each) < 2 for each in groups.values()):
        return None
    # How many intervals must be right at once (Bonferroni): one for each pair of groups for a difference, one for
    # each group for a ratio.
    compared = [len(each) for each in groups.values() if len(each) > 1]
    together = sum(math.comb(n, 2) if gap.form == "difference" else n for n in compared)
    at_once = ends(1 - (1 - confidence) / together)
    found: list[Interval] = []
    for name, own in groups.items():
        low, high = (each[own] for each in at_once[name])
        if not np.isfinite([low, high]).all():
            return None
        found.append(interval(values[name][own], low, high) if len(own) > 1 else _SINGLE_GROUP[gap.form])
    lows, highs = zip(*found, strict=True)
    return (max(lows), max(highs)) if gap.form == "difference" else (min(lows), min(highs))


def _difference(values: Floats) -> float | None:
    known = _known(values)
    return float(np.ptp(known)) if known.size else None


def _ratio(values: Floats) -> float | None:
    known = _known(values)
    return float(known.min() / known.max()) if known.size and known.max() > 0 else None


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _difference_interval(values: Floats, low: Floats, high: Floats) -> Interval:
    """Computes the ends for the largest difference, from the measures and their intervals at the level of one pair."""
    # `[g, h]` is the difference of g and h. The diagonal, a group with itself, is not a pair.
    difference = values[:, None] - values[None, :]
    below = np.hypot((values - low)[:, None], (high - values)[None, :])
    above = np.hypot((high - values)[:, None], (values - low)[None, :])
    pairs = ~np.eye(len(values), dtype=np.bool_)
    return max(0.0, float((difference - below)[pairs].max())), float((difference + above)[pairs].max())


def _ratio_interval(values: Floats, low: Floats, high: Floats) -> Interval:
    """Computes the ends for the smallest ratio, from intervals that are right for all groups at once."""
    largest = float(low.max())
    above = float(high.min()) / largest if largest > 0 else math.inf
    return float(low.min() / high.max()), min(1.0, above)
