"""Explains what (epsilon, delta) guarantees, in one sentence with its numbers."""

import math

from accord.privacy.units import UNITS
from accord.records.result_parts import PrivacyResult
from accord.reports.words.formatting import epsilon as shown
from accord.reports.words.formatting import known, percent, power

_FALSE_ALARMS = 0.01
"""The example attacker's false positive rate, the share of unused units taken for used."""


def most_found(epsilon: float, delta: float, false_alarms: float = _FALSE_ALARMS) -> float:
    """Returns the largest true positive rate of a test with the false positive rate `false_alarms`.

    The test decides whether a unit was used. Any test under (epsilon, delta)-differential privacy with false positive
    rate a and true positive rate t satisfies t <= e^epsilon a + delta and 1 - a <= e^epsilon (1 - t) + delta (Kairouz,
    Oh and Viswanath 2015, "The Composition Theorem for Differential Privacy", Theorem 2.1).

    >>> round(most_found(2.0, 1e-5), 4), round(most_found(0.0, 0.0), 4), round(most_found(8.0, 1e-5), 4)
    (0.0739, 0.01, 0.9997)
    """
    # exp(-epsilon) cannot overflow; exp(epsilon) may, and is then no bound.
    first = math.exp(min(epsilon, 700.0)) * false_alarms + delta
    second = 1 - math.exp(-epsilon) * (1 - delta - false_alarms)
    return min(first, second)


def meaning(privacy: PrivacyResult) -> str:
    """Explains epsilon by an attacker who has to decide whether one unit was used.

    An epsilon that is not finite bounds nothing, and the sentence says so.
    """
    epsilon, delta = privacy.epsilon, privacy.delta
    if not known(epsilon) or math.isinf(epsilon):
        return "An infinite ε bounds nothing."
    mechanism = UNITS[privacy.unit]
    unit = "client" if mechanism.counts == "clients" else "row"
    if mechanism.replaces:
        question, answer, cases = "which of two updates a client made", "first", ("the first", "the second")
    elif privacy.neighbouring_relation == "replace_one":
        question, answer, cases = f"which of two values one {unit} had", "first", ("the first", "the second")
    else:
        question, answer, cases = f"whether one {unit} was used", "used", (f"a used {unit}", "an unused one")
    found = percent(most_found(epsilon, delta))
    return (
        f"ε = {shown(epsilon)} and δ = {power(delta)} mean that no test of {question}, whatever else its maker knows, "
        f"says “{answer}” of {cases[0]} more than e^{shown(epsilon)} = {_times(epsilon)} times as often as of "
        f"{cases[1]}, plus δ: a test that says so of {_FALSE_ALARMS:.0%} of the latter says so of at most {found} of "
        "the former (Kairouz et al. 2015)."
    )


def _times(epsilon: float) -> str:
    if epsilon > 12:
        return power(math.exp(min(epsilon, 700.0)))
    return f"{math.exp(epsilon):,.3g}" if epsilon < 6 else f"{math.exp(epsilon):,.0f}"
