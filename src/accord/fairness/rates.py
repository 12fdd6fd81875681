"""Rates by group from counts, each with an interval, and the gaps that are computed from them.

Names and values are Fairlearn's (`MetricFrame`, `method="between_groups"`, `agg="worst_case"`), with one difference. A
rate without a denominator, such as the TPR of a group without positive labels, is undefined here and left out of gaps.
Fairlearn sets it to 0 and so reports a gap that nobody measured. The rates are:

    accuracy = correct / n              tpr = tp / (tp + fn)      fpr = fp / (fp + tn)
    selection_rate = (tp + fp) / n      fnr = fn / (tp + fn)

The gaps, over the groups g whose rate is defined, are:

    demographic_parity_difference = max_g selection_rate - min_g selection_rate
    demographic_parity_ratio      = min_g selection_rate / max_g selection_rate
    equalized_odds_difference     = max of the differences of tpr and of fpr
    equalized_odds_ratio          = min of the ratios of tpr and of fpr; an undefined one is left out
    equal_opportunity_difference  = max_g tpr - min_g tpr
    accuracy_gap                  = max_g accuracy - min_g accuracy

Demographic parity is from Dwork et al. 2012. Equalised odds and equal opportunity are from Hardt, Price and Srebro
2016, definitions 2.1 and 2.2.

A gap is a maximum over noisy rates, so it is biased upwards. Groups treated exactly alike show a gap above 0, which is
larger the smaller the groups and the more of them. The interval (`gaps`) reaches down to 0 unless two groups differ by
more than chance explains.
"""

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from accord.core import checks
from accord.fairness.groups import GroupCounts, Integers
from accord.fairness.measures import Ends, Floats, Gap, GroupMeasures

RATES = ("accuracy", "selection_rate", "tpr", "fpr", "fnr")
GAPS = (
    Gap("accuracy_gap", ("accuracy",)),
    Gap("demographic_parity_difference", ("selection_rate",)),
    Gap("demographic_parity_ratio", ("selection_rate",), "ratio"),
    Gap("equalized_odds_difference", ("tpr", "fpr")),
    Gap("equalized_odds_ratio", ("tpr", "fpr"), "ratio"),
    Gap("equal_opportunity_difference", ("tpr",)),
)


def wilson(successes: Integers, trials: Integers, confidence: float) -> Ends:
    """Computes the score interval of a proportion (Wilson 1927, without continuity correction), vectorised.

    With k successes of n, p = k/n and z the normal quantile of (1 + confidence) / 2, the ends are

        (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n)

    It does not use scipy's `binomtest`, which first computes a p-value for each cell. The tests compare the two.

    Args:
        successes: any shape, each in `[0, trials]`.
        trials: the same shape.
        confidence: level, strictly between 0 and 1.

    Returns:
        Lower and upper ends in the same shape, NaN where `trials` is 0.

    >>> low, high = wilson(np.array([8]), np.array([10]), confidence=0.95)
    >>> round(float(low[0]), 3), round(float(high[0]), 3)
    (0.49, 0.943)
    """
    checks.open_unit(confidence=confidence)
    # Two-sided, with half of 1 - confidence on either side.
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    n = np.where(trials > 0, trials, np.nan)
    p = successes / n
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # Ends that are exactly 0 or 1 by algebra are slightly off after rounding. The factor n keeps NaN for 0 trials.
    low = np.where(successes == 0, 0.0 * n, (centre - half) / scale)
    high = np.where(successes == trials, 0.0 * n + 1.0, (centre + half) / scale)
    return low, high


def _fractions(counts: GroupCounts) -> dict[str, tuple[Integers, Integers]]:
    """Returns numerator and denominator of each rate that the counts can give."""
    arrays = counts.arrays()
    n, correct = arrays["n"], arrays["correct"]
    if "tp" not in arrays:
        return {"accuracy": (correct, n)}
    tp, fp, tn, fn = (arrays[name] for name in ("tp", "fp", "tn", "fn"))
    return {
        "accuracy": (correct, n),
        "selection_rate": (tp + fp, n),
        "tpr": (tp, tp + fn),
        "fpr": (fp, fp + tn),
        "fnr": (fn, tp + fn),
    }


def rate_values(counts: GroupCounts) -> dict[str, Floats]:
    """Computes each of `RATES`, shape `[groups]`, or NaN where the denominator is 0 or there is no positive label."""
    fractions = _fractions(counts)
    found = {}
    for name in RATES:
        undefined = np.full(len(counts.names), np.nan)
        if name in fractions:
            numerator, denominator = fractions[name]
            # `where` leaves NaN, and avoids a warning, where the denominator is 0.
            np.divide(numerator, denominator, out=undefined, where=denominator > 0)
        found[name] = undefined
    return found


def rate_ends(counts: GroupCounts, confidence: float) -> dict[str, Ends]:
    """Computes the Wilson interval of each of `RATES`, shape `[groups]`, or NaN where the rate is."""
    undefined = np.full(len(counts.names), np.nan)
    found: dict[str, Ends] = dict.fromkeys(RATES, (undefined, undefined))
    return found | {name: wilson(*fraction, confidence) for name, fraction in _fractions(counts).items()}


def denominators(counts: GroupCounts) -> dict[str, Integers]:
    """Counts the rows that each of the available rates rests on, one number for each group.

    >>> counts = GroupCounts("sex", ("Female", "Male"), np.array([10, 20]), np.array([8, 18]))
    >>> {rate: rows.tolist() for rate, rows in denominators(counts).items()}
    {'accuracy': [10, 20]}
    """
    return {name: trials for name, (_, trials) in _fractions(counts).items()}


def _rebuild(column: str, names: tuple[str, ...], arrays: Mapping[str, Floats], positive: int | None) -> GroupCounts:
    whole = {name: np.rint(values).astype(np.int64) for name, values in arrays.items()}
    return GroupCounts(column, names, positive=positive, **whole)


RATES_BY_GROUP: GroupMeasures[GroupCounts] = GroupMeasures(
    names=RATES,
    gaps=GAPS,
    ranked_by="accuracy",
    lower_is_better=False,
    values=rate_values,
    intervals=rate_ends,
    denominators=denominators,
    rebuild=_rebuild,
)
