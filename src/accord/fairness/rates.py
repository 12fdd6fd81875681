"""Rates by group and gaps between groups, from counts, each with an interval.

Names and values are Fairlearn's (`MetricFrame`, `method="between_groups"`, `agg="worst_case"`), with one
difference: a rate without a denominator (the TPR of a group without positive labels) is undefined here
and left out of gaps, where Fairlearn takes it for 0 and so reports a gap that nobody measured. Rates:

    accuracy = correct / n              tpr = tp / (tp + fn)      fpr = fp / (fp + tn)
    selection_rate = (tp + fp) / n      fnr = fn / (tp + fn)

Gaps, over the groups g whose rate is defined:

    demographic_parity_difference = max_g selection_rate - min_g selection_rate
    demographic_parity_ratio      = min_g selection_rate / max_g selection_rate
    equalized_odds_difference     = max of the differences of tpr and of fpr
    equalized_odds_ratio          = min of the ratios of tpr and of fpr; an undefined one is left out
    equal_opportunity_difference  = max_g tpr - min_g tpr
    accuracy_gap                  = max_g accuracy - min_g accuracy

Demographic parity: Dwork et al. 2012; equalised odds and equal opportunity: Hardt, Price and Srebro 2016,
definitions 2.1 and 2.2.

A gap is a maximum over noisy rates, so it is biased upwards: groups treated exactly alike show a gap
above 0, the larger the smaller the groups and the more of them. The bootstrap repeats that bias, so the
lower end of a difference's interval is above 0 even for equal groups: it is no test of "no gap".
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core import checks
from accord.fairness.groups import GroupCounts, Integers

Floats = NDArray[np.float64]
Interval = tuple[float, float]
"""Lower and upper end."""

RATES = ("accuracy", "selection_rate", "tpr", "fpr", "fnr")
GAPS = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
    "equal_opportunity_difference",
    "accuracy_gap",
)


def wilson(successes: Integers, trials: Integers, confidence: float) -> tuple[Floats, Floats]:
    """The score interval of a proportion (Wilson 1927, without continuity correction), vectorised.

    With k successes of n, p = k/n and z the normal quantile of (1 + confidence) / 2, the ends are

        (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n)

    Written out rather than taken from scipy's `binomtest`, which computes a p-value for each cell first;
    the tests hold the two against each other.

    Args:
        successes: any shape, each in `[0, trials]`.
        trials: the same shape.
        confidence: level, strictly between 0 and 1.

    Returns:
        Lower and upper ends, in the same shape; NaN where `trials` is 0.

    >>> low, high = wilson(np.array([8]), np.array([10]), confidence=0.95)
    >>> round(float(low[0]), 3), round(float(high[0]), 3)
    (0.49, 0.943)
    """
    checks.open_unit(confidence=confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    n = np.where(trials > 0, trials, np.nan)
    p = successes / n
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # Rounding leaves the ends that are 0 or 1 by algebra a hair off.
    low = np.where(successes == 0, 0.0 * n, (centre - half) / scale)
    high = np.where(successes == trials, 0.0 * n + 1.0, (centre + half) / scale)
    return low, high


def _fractions(arrays: Mapping[str, Integers]) -> dict[str, tuple[Integers, Integers]]:
    """Numerator and denominator of each rate that the counts can give."""
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


def _divide(numerator: Floats | Integers, denominator: Floats | Integers) -> Floats:
    """The quotient, NaN where the denominator is 0 or NaN."""
    out = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def _rates(arrays: Mapping[str, Integers]) -> dict[str, Floats]:
    return {name: _divide(*fraction) for name, fraction in _fractions(arrays).items()}


def _difference(rates: Floats) -> Floats:
    # fmax and fmin pass over NaN: a group whose rate is undefined is left out.
    return np.asarray(np.fmax.reduce(rates, axis=-1) - np.fmin.reduce(rates, axis=-1))


def _ratio(rates: Floats) -> Floats:
    return _divide(np.asarray(np.fmin.reduce(rates, axis=-1)), np.asarray(np.fmax.reduce(rates, axis=-1)))


def _gaps(rates: Mapping[str, Floats]) -> dict[str, Floats]:
    """Gaps of shape `[...]` from rates of shape `[..., groups]`; NaN where undefined."""
    found = {"accuracy_gap": _difference(rates["accuracy"])}
    if "tpr" in rates:
        selection, tpr, fpr = rates["selection_rate"], rates["tpr"], rates["fpr"]
        found |= {
            "demographic_parity_difference": _difference(selection),
            "demographic_parity_ratio": _ratio(selection),
            "equalized_odds_difference": np.fmax(_difference(tpr), _difference(fpr)),
            "equalized_odds_ratio": np.fmin(_ratio(tpr), _ratio(fpr)),
            "equal_opportunity_difference": _difference(tpr),
        }
    undefined = np.full(found["accuracy_gap"].shape, np.nan)
    return {name: found.get(name, undefined) for name in GAPS}


def _value(number: float) -> float | None:
    return None if math.isnan(number) else float(number)


def quantiles(values: Floats, levels: Sequence[float]) -> dict[str, Any] | None:
    """How many values are finite, and their quantiles by level; None where none is.

    >>> quantiles(np.array([0.0, math.nan, 1.0]), [0.5])
    {'clients': 2, 'quantiles': {'0.5': 0.5}}
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    found = np.quantile(known, levels).tolist()
    return {"clients": len(known), "quantiles": dict(zip(map(str, levels), found, strict=True))}


def rates(counts: GroupCounts) -> dict[str, list[float | None]]:
    """Each of `RATES`, one value a group in the order of `counts.names`.

    None where the denominator is 0, and for all but `accuracy` where there is no positive label.
    """
    found = _rates(counts.arrays())
    absent = [math.nan] * len(counts.names)
    return {name: [_value(rate) for rate in found.get(name, absent)] for name in RATES}


def denominators(counts: GroupCounts) -> dict[str, Integers]:
    """How many rows each of the rates that the counts can give rests on, one number a group.

    >>> counts = GroupCounts("sex", ("Female", "Male"), np.array([10, 20]), np.array([8, 18]))
    >>> {rate: rows.tolist() for rate, rows in denominators(counts).items()}
    {'accuracy': [10, 20]}
    """
    return {name: trials for name, (_, trials) in _fractions(counts.arrays()).items()}


def rate_intervals(counts: GroupCounts, confidence: float) -> dict[str, list[Interval | None]]:
    """The Wilson interval of each of `RATES`, one a group; None where the rate is."""
    found: dict[str, list[Interval | None]] = {name: [None] * len(counts.names) for name in RATES}
    for name, (successes, trials) in _fractions(counts.arrays()).items():
        low, high = wilson(successes, trials, confidence)
        found[name] = [(float(a), float(b)) if some else None for a, b, some in zip(low, high, trials > 0, strict=True)]
    return found


def gaps(counts: GroupCounts) -> dict[str, float | None]:
    """Each of `GAPS`; None where no group's rate is defined, or a ratio is 0/0.

    Groups with no rows, or none in a rate's denominator, are left out of that rate's gaps. A single group
    has differences of 0 and ratios of 1.

    >>> counts = GroupCounts("sex", ("Female", "Male"), np.array([10, 20]), np.array([8, 18]))
    >>> round(gaps(counts)["accuracy_gap"], 3)
    0.1
    """
    return {name: _value(float(gap)) for name, gap in _gaps(_rates(counts.arrays())).items()}


def bootstrap_gaps(counts: GroupCounts, *, resamples: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Each of `GAPS` over rows drawn anew, with replacement, within each group.

    A row enters the measures only through its outcome (tp, fp, fn, correct or wrong tn), and the counts
    hold how many rows had each. So drawing a group's n rows is one multinomial draw over its outcomes,
    and no row is needed.

    Args:
        counts: counts of the rows seen.
        resamples: how many times all groups are drawn.
        rng: where the draws come from.

    Returns:
        Gap name to shape `[resamples]`; NaN in resamples where the gap is undefined.
    """
    checks.positive(resamples=resamples)
    arrays = counts.arrays()
    n, correct = arrays["n"], arrays["correct"]
    if counts.positive is None:
        outcomes = np.stack([correct, n - correct], axis=-1)
    else:
        tp, tn = arrays["tp"], arrays["tn"]
        correct_tn = correct - tp  # correct rows labelled positive are exactly the tp
        outcomes = np.stack([tp, arrays["fp"], arrays["fn"], correct_tn, tn - correct_tn], axis=-1)
    shares = outcomes / np.maximum(n, 1)[:, None]
    drawn = rng.multinomial(n, shares, size=(resamples, len(n)))
    again: dict[str, Integers] = {"n": np.broadcast_to(n, drawn.shape[:-1])}
    if counts.positive is None:
        again["correct"] = drawn[..., 0]
    else:
        tp, fp, fn, right, wrong = np.moveaxis(drawn, -1, 0)
        again |= {"correct": tp + right, "tp": tp, "fp": fp, "tn": right + wrong, "fn": fn}
    return _gaps(_rates(again))


def gap_intervals(
    counts: GroupCounts, *, confidence: float, resamples: int, rng: np.random.Generator
) -> dict[str, Interval | None]:
    """The percentile bootstrap interval of each of `GAPS` (Efron and Tibshirani 1993, chapter 13).

    The ends are the quantiles (1 ∓ confidence) / 2 over `bootstrap_gaps`, resamples where the gap is
    undefined left out. None where the gap of the rows seen is. See the module's docstring for the bias.
    """
    checks.open_unit(confidence=confidence)
    seen = gaps(counts)
    levels = ((1 - confidence) / 2, (1 + confidence) / 2)
    found: dict[str, Interval | None] = {}
    for name, values in bootstrap_gaps(counts, resamples=resamples, rng=rng).items():
        defined = values[~np.isnan(values)]
        if seen[name] is None or not defined.size:
            found[name] = None
        else:
            low, high = np.quantile(defined, levels)
            found[name] = (float(low), float(high))
    return found
