"""What epsilon means: literal sentences, and the bound against the mechanism it is tight for."""

import math

import pytest
from scipy.stats import norm

from accord.records.result_parts import PrivacyResult
from accord.reports.words.epsilon_text import meaning, most_found
from reports.results import privacy


def told(epsilon: float, **changes: object) -> str:
    return meaning(PrivacyResult.model_validate(privacy(epsilon, **changes)))


def test_the_sentence_has_its_numbers() -> None:
    assert told(2.0) == (
        "ε = 2.00 and δ = 10⁻⁵ mean that no test of whether one row was used, whatever else its maker knows, says "
        "“used” of a used row more than e^2.00 = 7.39 times as often as of an unused one, plus δ: a test that says so "
        "of 1% of the latter says so of at most 7.4% of the former (Kairouz et al. 2015)."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unit": "client"}, "whether one client was used"),
        ({"unit": "client", "neighbouring_relation": "replace_one"}, "which of two values one client had"),
        ({"unit": "local", "neighbouring_relation": "replace_one"}, "which of two updates a client made"),
        ({"unit": "batch"}, "says “used” of a used row"),
    ],
)
def test_it_speaks_of_the_unit_and_its_relation(changes: dict[str, str], said: str) -> None:
    assert said in told(2.0, **changes)


@pytest.mark.parametrize(("epsilon", "said"), [(0.5, "1.65 times"), (8.0, "2,981 times"), (40.0, "2.35 × 10¹⁷ times")])
def test_large_factors_are_readable(epsilon: float, said: str) -> None:
    assert said in told(epsilon)


def test_of_a_large_epsilon_at_most_all_are_found() -> None:
    assert "at most 100.0% of" in told(40.0)
    assert most_found(1000.0, 1e-5) == 1.0


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("delta", [0.0, 1e-3, 0.1])
def test_the_bound_is_that_of_the_worst_mechanism(epsilon: float, delta: float) -> None:
    # Randomised response with a leak reaches both lines: with probability delta the bit is told outright, else the
    # answer is true with odds e^epsilon (Kairouz et al. 2015, the mechanism behind Theorem 3.1).
    true = (1 - delta) * math.exp(epsilon) / (1 + math.exp(epsilon))
    false = (1 - delta) / (1 + math.exp(epsilon))
    assert most_found(epsilon, delta, false) == pytest.approx(delta + true)
    assert most_found(epsilon, delta, 0.0) == pytest.approx(delta)


def test_a_gaussian_mechanism_stays_below_it() -> None:
    # At its epsilon for delta = 1e-5 (Balle and Wang 2018), every threshold test of N(0, 1) against N(mu, 1).
    mu, delta, epsilon = 0.5, 1e-5, 2.0
    attained = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
    assert attained <= delta * 10  # the pair is nearly this mechanism's own
    for alarms in (0.001, 0.01, 0.1, 0.5):
        found = norm.sf(norm.isf(alarms) - mu)
        assert found <= most_found(epsilon, max(delta, attained), alarms)
