"""One plan feeds mechanism and accountant; what nobody accounts is refused."""

import math
from dataclasses import replace
from typing import Any

import dp_accounting
import pytest
from dp_accounting import rdp
from scipy.stats import norm

from accord.core.errors import PrivacyError
from accord.privacy import accounting
from accord.privacy.plan import AdaptiveClipping, PrivacyPlan


def plan(**changes: Any) -> PrivacyPlan:
    values: dict[str, Any] = {
        "unit": "sample",
        "clip_norm": 2.0,
        "noise_multiplier": 1.5,
        "delta": 1e-5,
        "expected_size": 32,
    }
    return PrivacyPlan(**(values | changes))


def test_sample_is_poisson_at_the_plans_own_rate() -> None:
    made = plan()
    assert made.sampling_rate(1000) == 0.032
    assert made.divisor(1000) == 32.0
    assert (made.sensitivity, made.noise_std, made.relation) == (2.0, 3.0, "add_remove")
    assert made.event(1000) == dp_accounting.PoissonSampledDpEvent(0.032, dp_accounting.GaussianDpEvent(1.5))


def test_a_batch_larger_than_the_client_takes_everything() -> None:
    assert plan().sampling_rate(20) == 1.0
    assert plan().divisor(20) == 20.0
    assert plan(expected_size=None).sampling_rate(1000) == 1.0


def test_batch_has_sensitivity_two_c() -> None:
    made = plan(unit="batch")
    assert made.sensitivity == 4.0
    assert made.event(1000) == dp_accounting.PoissonSampledDpEvent(0.032, dp_accounting.GaussianDpEvent(0.75))
    assert made.epsilon(1000, 10) > plan().epsilon(1000, 10)


def test_client_cohorts_each_have_their_own_accounting() -> None:
    poisson = plan(unit="client", expected_size=10)
    assert poisson.event(100) == dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.GaussianDpEvent(1.5))
    assert (poisson.sensitivity, poisson.relation) == (2.0, "add_remove")
    fixed = plan(unit="client", sampling="fixed", expected_size=10)
    gaussian = dp_accounting.GaussianDpEvent(0.75)
    assert fixed.event(100) == dp_accounting.SampledWithoutReplacementDpEvent(100, 10, gaussian)
    assert (fixed.sensitivity, fixed.relation) == (4.0, "replace_one")
    everyone = plan(unit="client", sampling="everyone", expected_size=None)
    assert everyone.event(100) == dp_accounting.GaussianDpEvent(1.5)
    assert everyone.divisor(100) == 100.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "row"}, "unknown privacy unit"),
        ({"clip_norm": 1e-13}, "too small: squares of such numbers vanish"),
        ({"sampling": "shuffle"}, "unknown privacy sampling"),
        ({"accountant": "zcdp"}, "unknown privacy accountant"),
        ({"sampling": "fixed"}, "Poisson batches only"),
        ({"unit": "batch", "sampling": "everyone"}, "Poisson batches only"),
        ({"unit": "client", "sampling": "poisson", "expected_size": None}, "needs a cohort size"),
        (
            {"unit": "client", "sampling": "fixed", "accountant": "pld"},
            "pld cannot account fixed-size cohorts",
        ),
    ],
)
def test_combinations_nobody_accounts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        plan(**changes)


@pytest.mark.parametrize("name", ["clip_norm", "noise_multiplier", "budget", "expected_size"])
@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf")])
def test_numbers_out_of_range_are_named(name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be > 0"):
        plan(**{name: bad})


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, float("nan")])
def test_delta_lies_between_zero_and_one(delta: float) -> None:
    with pytest.raises(ValueError, match="delta must lie strictly between 0 and 1"):
        plan(delta=delta)


def test_delta_must_be_below_one_over_n() -> None:
    plan(delta=0.00099).check_delta(1000)
    for delta in (0.001, 0.002):
        with pytest.raises(PrivacyError, match="below 1/n"):
            plan(delta=delta).check_delta(1000)


def test_fixed_cohorts_take_the_lesser_of_two_bounds() -> None:
    most = plan(unit="client", sampling="fixed", expected_size=90, noise_multiplier=8.0, delta=1e-3)
    unsampled = accounting.epsilon(dp_accounting.GaussianDpEvent(4.0), 10, 1e-3, "rdp", "replace_one")
    sampled = accounting.epsilon(most.event(100), 10, 1e-3, "rdp", "replace_one")
    assert most.epsilon(100, 10) == unsampled < sampled
    few = plan(unit="client", sampling="fixed", expected_size=2, noise_multiplier=8.0, delta=1e-3)
    assert few.epsilon(100, 10) == accounting.epsilon(few.event(100), 10, 1e-3, "rdp", "replace_one")


def test_within_agrees_with_epsilon() -> None:
    made = plan()
    spent = made.epsilon(1000, 50)
    assert made.fits_budget(1000, 50, spent)
    assert not made.fits_budget(1000, 50, spent * 0.999)
    assert made.epsilon(1000, 50, quick=True) >= spent


@pytest.mark.parametrize("accountant", ["rdp", "pld", "rdp2017"])
@pytest.mark.parametrize("rounds", [1, 12])
def test_local_is_a_gaussian_at_twice_the_clip_norm(accountant: str, rounds: int) -> None:
    """Any two updates lie within 2C of each other; nobody is hidden by sampling."""
    local = plan(unit="local", sampling="everyone", expected_size=None, noise_multiplier=9.0, accountant=accountant)
    assert (local.sensitivity, local.noise_std, local.relation) == (4.0, 18.0, "replace_one")
    whole = plan(unit="client", sampling="everyone", expected_size=None, noise_multiplier=4.5, accountant=accountant)
    assert local.epsilon(50, rounds) == whole.epsilon(50, rounds)


def test_one_local_round_by_the_gaussian_mechanism_itself() -> None:
    """Balle & Wang 2018, Theorem 8: delta = Phi(1/2s - eps s) - e^eps Phi(-1/2s - eps s), s the noise multiplier."""
    local = plan(unit="local", sampling="everyone", expected_size=None, noise_multiplier=6.0, accountant="pld")
    found, s = local.epsilon(50, 1), 3.0
    delta = norm.cdf(1 / (2 * s) - found * s) - math.exp(found) * norm.cdf(-1 / (2 * s) - found * s)
    assert delta == pytest.approx(1e-5, rel=2e-2)


@pytest.mark.parametrize("changes", [{"sampling": "poisson"}, {"expected_size": 5, "sampling": "everyone"}])
def test_local_claims_no_sampling(changes: dict[str, Any]) -> None:
    with pytest.raises(PrivacyError, match="hides no one by sampling"):
        plan(**({"unit": "local", "expected_size": None} | changes))


def test_of_fixed_cohorts_each_plan_takes_its_lesser_bound_when_they_compose() -> None:
    few = PrivacyPlan("client", 1.0, 4.0, 1e-4, sampling="fixed", expected_size=5)
    most = PrivacyPlan("client", 1.0, 9.0, 1e-4, sampling="fixed", expected_size=90)
    together = few.epsilon(100, 30, ((most, 20),))
    relation = dp_accounting.NeighboringRelation.REPLACE_ONE
    library = rdp.RdpAccountant(neighboring_relation=relation)
    library.compose(few.event(100), 30).compose(dp_accounting.GaussianDpEvent(4.5), 20)
    assert together == pytest.approx(library.get_epsilon(1e-4), rel=1e-12)
    assert max(few.epsilon(100, 30), most.epsilon(100, 20)) < together < few.epsilon(100, 30) + most.epsilon(100, 20)
    assert few.epsilon(100, 0, ((most, 20),)) == most.epsilon(100, 20)
    assert few.fits_budget(100, 30, together, ((most, 20),))
    assert not few.fits_budget(100, 30, together * 0.999, ((most, 20),))


# --- adaptive clipping, by hand (Andrew et al. 2021, Theorem 1) ----------------------------------------


def adaptive(noise: float, count_noise: float, **changes: Any) -> PrivacyPlan:
    options = {"sampling": "everyone", "adaptive": AdaptiveClipping(0.5, 0.2, count_noise)} | changes
    return PrivacyPlan(clip_norm=0.5, noise_multiplier=noise, delta=1e-3, **({"unit": "client"} | options))  # type: ignore[arg-type]


def test_sum_and_count_together_cost_what_the_noise_multiplier_says() -> None:
    made = adaptive(1.2, 0.9)
    # Gaussian releases of sensitivity 1 and noise a, b are one of (a^-2 + b^-2)^(-1/2); the count has 2 sigma_b.
    of_sum, of_count = made.noise_std / 0.5, 2 * 0.9
    assert (of_sum**-2 + of_count**-2) ** -0.5 == pytest.approx(1.2, rel=1e-12)
    assert made.noise_std == pytest.approx(0.5 / (1 / 1.44 - 1 / 3.24) ** 0.5, rel=1e-12)
    assert made.epsilon(10, 5) == replace(made, adaptive=None).epsilon(10, 5)


@pytest.mark.parametrize(("count_noise", "allowed"), [(0.61, True), (0.6, False), (0.59, False), (0.45, False)])
def test_a_count_that_spends_all_is_refused(count_noise: float, allowed: bool) -> None:
    if allowed:
        assert adaptive(1.2, count_noise).noise_std > 0.6
        return
    with pytest.raises(PrivacyError, match=r"spends all that noise_multiplier 1.2 allows; raise it above 0.6"):
        adaptive(1.2, count_noise)


def test_only_whole_updates_are_counted() -> None:
    with pytest.raises(PrivacyError, match="counts whole updates"):
        adaptive(1.2, 0.9, per_layer=True)
    for unit, sampling in (("sample", "poisson"), ("batch", "poisson"), ("local", "everyone")):
        with pytest.raises(PrivacyError, match="counts whole updates"):
            adaptive(1.2, 0.9, unit=unit, sampling=sampling)


def test_neighbours_by_sampling() -> None:
    found = {
        sampling: plan(unit="client", sampling=sampling, expected_size=size).relation
        for sampling, size in (("everyone", None), ("poisson", 2), ("fixed", 2))
    }
    assert found == {"everyone": "add_remove", "poisson": "add_remove", "fixed": "replace_one"}


def test_a_refused_delta_is_told_with_the_bound() -> None:
    made = PrivacyPlan("client", 0.5, 1.2, 0.1, sampling="everyone")
    with pytest.raises(PrivacyError, match=r"privacy.delta 0.1 must be below 1/n = 0.05 \(n = 20 clients\)"):
        made.check_delta(20)
    made.check_delta(9)
