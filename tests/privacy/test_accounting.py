"""epsilon against dp-accounting itself, against published figures, and against its own inverse."""

import math
from typing import Any

import dp_accounting
import pytest
from dp_accounting import (
    GaussianDpEvent,
    LaplaceDpEvent,
    PoissonSampledDpEvent,
    SampledWithoutReplacementDpEvent,
    pld,
    rdp,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import PrivacyError
from accord.privacy import accounting
from accord.privacy.accounting import Accountant, Events, epsilon, epsilon_of, max_steps, noise_for

STEP = PoissonSampledDpEvent(0.01, GaussianDpEvent(1.1))


@pytest.mark.parametrize("steps", [1, 17, 1000])
def test_rdp_is_the_librarys(steps: int) -> None:
    oracle = rdp.RdpAccountant().compose(STEP, steps).get_epsilon(1e-5)
    assert epsilon(STEP, steps, 1e-5, "rdp") == pytest.approx(oracle, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 300])
def test_pld_is_the_librarys(steps: int) -> None:
    oracle = pld.PLDAccountant().compose(STEP, steps).get_epsilon(1e-5)
    assert epsilon(STEP, steps, 1e-5, "pld") == pytest.approx(oracle, rel=1e-12)


def test_replace_one_without_replacement_is_the_librarys() -> None:
    event = SampledWithoutReplacementDpEvent(100, 10, GaussianDpEvent(0.7))
    relation = dp_accounting.NeighboringRelation.REPLACE_ONE
    oracle = rdp.RdpAccountant(neighboring_relation=relation).compose(event, 20).get_epsilon(1e-4)
    assert epsilon(event, 20, 1e-4, "rdp", "replace_one") == pytest.approx(oracle, rel=1e-12)


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("noise", [0.6, 1.3, 4.0])
def test_tight_never_exceeds_renyi_and_2017_is_no_tighter(rate: float, noise: float) -> None:
    event = PoissonSampledDpEvent(rate, GaussianDpEvent(noise))
    tight, renyi, old = (epsilon(event, 100, 1e-5, name) for name in ("pld", "rdp", "rdp2017"))
    assert 0 < tight <= min(renyi, old)
    # Not exact: the two read off different orders, and at high rates the library drops some that do not converge.
    assert renyi <= old * 1.05


def test_mironov_2017_on_the_plain_gaussian_has_a_closed_form() -> None:
    # rdp(a) = a / (2 z^2); minimised over real a: 1/(2 z^2) + sqrt(2 log(1/delta)) / z.
    z, delta = 5.0, 1e-5
    closed = 1 / (2 * z**2) + math.sqrt(2 * math.log(1 / delta)) / z
    assert closed <= epsilon(GaussianDpEvent(z), 1, delta, "rdp2017") <= closed * 1.001


def test_epsilon_grows_with_steps_and_shrinks_with_noise() -> None:
    by_steps = [epsilon(STEP, k, 1e-5) for k in (0, 1, 10, 100, 1000)]
    assert by_steps[0] == 0.0
    assert by_steps == sorted(by_steps)
    by_noise = [epsilon(PoissonSampledDpEvent(0.01, GaussianDpEvent(z)), 100, 1e-5) for z in (0.5, 1.0, 2.0)]
    assert by_noise == sorted(by_noise, reverse=True)


@pytest.mark.parametrize("accountant", ["rdp", "pld", "rdp2017"])
@pytest.mark.parametrize("target", [0.5, 2.0, 30.0])
def test_noise_for_meets_the_target_from_below(accountant: Accountant, target: float) -> None:
    def cost(z: float) -> float:
        return epsilon(PoissonSampledDpEvent(0.05, GaussianDpEvent(z)), 100, 1e-5, accountant)

    def quick(z: float) -> float:
        return epsilon(PoissonSampledDpEvent(0.05, GaussianDpEvent(z)), 100, 1e-5, accountant, quick=True)

    noise = noise_for(cost, target, quick if accountant == "rdp" else None)
    assert cost(noise) <= target
    assert cost(noise * 0.998) > target


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.4, 1.0])
@pytest.mark.parametrize("noise", [0.5, 1.0, 5.0])
def test_the_quick_bound_is_a_bound(rate: float, noise: float) -> None:
    event = PoissonSampledDpEvent(rate, GaussianDpEvent(noise))
    for steps in (1, 100):
        assert epsilon(event, steps, 1e-5) <= epsilon(event, steps, 1e-5, quick=True)


@pytest.mark.parametrize("rate", [0.001, 0.05, 1.0])
@pytest.mark.parametrize("noise", [0.5, 1.0, 5.0, 40.0])
def test_the_quick_bound_is_the_librarys_at_whole_orders(rate: float, noise: float) -> None:
    event = PoissonSampledDpEvent(rate, GaussianDpEvent(noise))
    for steps in (1, 100):
        whole = rdp.RdpAccountant([*range(2, 64), 128, 256, 512, 1024]).compose(event, steps).get_epsilon(1e-5)
        assert epsilon(event, steps, 1e-5, quick=True) == pytest.approx(whole, rel=1e-12, abs=1e-15)


def test_max_steps_is_the_last_that_fits() -> None:
    steps = max_steps(lambda k: epsilon(STEP, k, 1e-5), 1.5)
    assert epsilon(STEP, steps, 1e-5) <= 1.5 < epsilon(STEP, steps + 1, 1e-5)
    assert max_steps(lambda k: epsilon(GaussianDpEvent(0.1), k, 1e-5), 1.0) == 0
    assert max_steps(lambda k: 0.0, 1.0, limit=1000) == 1000


@pytest.mark.parametrize("target", [0.99, 1.0, 1.5, 2.0, 3.0, 7.9, 8.0, 1000.5])
def test_max_steps_of_a_cost_of_1_a_step(target: float) -> None:
    assert max_steps(float, target) == int(target)
    assert max_steps(float, target, limit=37) == min(37, int(target))


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("exact", [0.02, 0.7, 1.0, 1.3, 37.0, 3000.0])
@pytest.mark.parametrize("loose", [None, 1.0, 1.04, 1.5])
def test_noise_for_a_power_law_is_its_inverse(power: float, exact: float, loose: float | None) -> None:
    """The noise whose cost z^-power is the target's, whatever the quick bound, within 1e-3 and never below."""
    asked = 0

    def cost(z: float) -> float:
        nonlocal asked
        asked += 1
        return float(z**-power)

    quick = None if loose is None else lambda z: loose * z**-power
    assert exact * (1 - 1e-12) <= noise_for(cost, exact**-power, quick) <= exact * 1.0011
    assert asked < 60


def test_what_cannot_be_composed_is_refused() -> None:
    with pytest.raises(PrivacyError, match="cannot account this mechanism"):
        epsilon(SampledWithoutReplacementDpEvent(100, 10, GaussianDpEvent(1.0)), 1, 1e-5, "pld", "replace_one")
    with pytest.raises(PrivacyError, match="cannot account this mechanism"):
        epsilon(PoissonSampledDpEvent(0.1, LaplaceDpEvent(1.0)), 1, 1e-5, "rdp")


def test_the_library_logs_nothing_of_orders_it_leaves_out(caplog: pytest.LogCaptureFixture) -> None:
    event = PoissonSampledDpEvent(1 / 6, GaussianDpEvent(0.4875))
    epsilon(event, 50, 1e-4)
    assert not caplog.records
    rdp.RdpAccountant().compose(event)
    assert caplog.records  # outside of `epsilon` its log is as it was


def test_no_noise_costs_everything() -> None:
    assert epsilon(GaussianDpEvent(0.0), 1, 1e-5) == math.inf


@pytest.mark.parametrize("drop", [1.0005, 1.003, 1.01, 1.05, 1.2, 1.29])
@pytest.mark.parametrize("loose", [None, 1.0, 1.04])
def test_noise_for_meets_the_target_where_its_cost_drops(drop: float, loose: float | None) -> None:
    """As a library's does that leaves an order out: below `drop`, cost is 1.3 / z, from there on 1 / z."""

    def cost(z: float) -> float:
        return (1.3 if z < drop else 1.0) / z

    noise = noise_for(cost, 1.0, None if loose is None else lambda z: loose * cost(z))
    assert cost(noise) <= 1.0
    assert drop <= noise <= 1.0011 * drop or (loose is not None and noise <= 1.04 * drop)


@pytest.mark.parametrize(
    ("accountant", "relation", "message"),
    [("moments", "add_remove", "unknown accountant"), ("rdp", "swap", "unknown neighbouring relation")],
)
def test_unknown_names_are_refused(accountant: Any, relation: Any, message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        epsilon(STEP, 1, 1e-5, accountant, relation)


def test_a_target_no_noise_meets_is_refused() -> None:
    with pytest.raises(PrivacyError, match="no noise multiplier up to 10,000"):
        noise_for(lambda z: epsilon(GaussianDpEvent(z), 10**9, 1e-5), 1e-3)


@pytest.mark.parametrize("noise", [0.0, 1e-200, 1e-160, 1e-20, 9e-5])
@pytest.mark.parametrize("accountant", ["rdp", "pld", "rdp2017"])
def test_hardly_any_noise_has_no_finite_epsilon(accountant: Accountant, noise: float) -> None:
    """dp-accounting's RDP answers 0 at 1e-160: the numbers have run out."""
    for event in (GaussianDpEvent(noise), PoissonSampledDpEvent(0.2, GaussianDpEvent(noise))):
        assert epsilon(event, 1, 1e-5, accountant) == math.inf


# --- several mechanisms -------------------------------------------------------------------------------

OTHER = PoissonSampledDpEvent(0.05, GaussianDpEvent(2.0))
MIXED: accounting.Events = (
    (STEP, 400, "add_remove"),
    (OTHER, 30, "add_remove"),
    (GaussianDpEvent(9.0), 2, "add_remove"),
)
ACCOUNTANTS: tuple[Accountant, ...] = ("rdp", "pld", "rdp2017")


def composed(accountant: dp_accounting.PrivacyAccountant) -> dp_accounting.PrivacyAccountant:
    for event, count, _ in MIXED:
        accountant.compose(event, count)
    return accountant


def test_several_mechanisms_compose_as_in_the_library() -> None:
    assert epsilon_of(MIXED, 1e-5, "rdp") == pytest.approx(composed(rdp.RdpAccountant()).get_epsilon(1e-5), rel=1e-12)
    assert epsilon_of(MIXED, 1e-5, "pld") == pytest.approx(composed(pld.PLDAccountant()).get_epsilon(1e-5), rel=1e-12)


def test_several_mechanisms_by_the_conversion_of_2017() -> None:
    orders = accounting._ORDERS_2017
    library = composed(rdp.RdpAccountant(orders))
    assert isinstance(library, rdp.RdpAccountant)
    by_order = [float(value) + math.log(1e5) / (order - 1) for order, value in zip(orders, library.rdp, strict=True)]
    assert epsilon_of(MIXED, 1e-5, "rdp2017") == pytest.approx(min(by_order), rel=1e-12)


def test_together_is_less_than_the_sum_and_more_than_the_most() -> None:
    for accountant in ACCOUNTANTS:
        alone = [epsilon(event, count, 1e-5, accountant) for event, count, _ in MIXED]
        together = epsilon_of(MIXED, 1e-5, accountant)
        assert max(alone) < together < sum(alone)
        assert together <= epsilon_of(MIXED, 1e-5, accountant, quick=True)


def test_one_mechanism_told_in_pieces_is_one() -> None:
    pieces: accounting.Events = ((STEP, 10, "add_remove"), (OTHER, 0, "add_remove"), (STEP, 7, "add_remove"))
    for accountant in ACCOUNTANTS:
        assert epsilon_of(pieces, 1e-5, accountant) == epsilon(STEP, 17, 1e-5, accountant)
    assert epsilon_of((), 1e-5) == epsilon_of(((STEP, 0, "add_remove"),), 1e-5) == 0.0


def test_one_mechanism_without_noise_costs_everything() -> None:
    assert epsilon_of((*MIXED, (GaussianDpEvent(1e-9), 1, "add_remove")), 1e-5) == math.inf


@pytest.mark.parametrize(
    ("more", "accountant", "message"),
    [
        ((GaussianDpEvent(1.0), 1, "replace_one"), "rdp", "adding and by replacing one do not add up"),
        ((LaplaceDpEvent(1.0), -1, "add_remove"), "rdp", "cannot be applied -1 times"),
        ((GaussianDpEvent(1.0), 1, "swap"), "rdp", "unknown neighbouring relation"),
        ((GaussianDpEvent(1.0), 1, "add_remove"), "moments", "unknown accountant"),
        ((PoissonSampledDpEvent(0.1, LaplaceDpEvent(1.0)), 1, "add_remove"), "rdp", "cannot account this mechanism"),
    ],
)
def test_what_does_not_compose_is_refused(more: Any, accountant: Any, message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        epsilon_of((*MIXED, more), 1e-5, accountant)


@given(
    rate=st.floats(-4, 0).map(lambda x: 10**x),
    noise=st.floats(-0.7, 1.2).map(lambda x: 10**x),
    steps=st.floats(0, 5).map(lambda x: int(10**x)),
    delta=st.floats(-10, -1.5).map(lambda x: 10**x),
    sampled=st.booleans(),
    second=st.booleans(),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_the_orders_left_out_would_not_have_been_the_best(
    rate: float, noise: float, steps: int, delta: float, sampled: bool, second: bool
) -> None:
    """To the bit what dp-accounting finds over all of its orders."""
    gaussian = GaussianDpEvent(noise)
    event = PoissonSampledDpEvent(rate, gaussian) if sampled else gaussian
    events: Events = ((event, steps, "add_remove"),)
    whole = rdp.RdpAccountant().compose(event, steps)
    if second:
        other = PoissonSampledDpEvent(min(1.0, 3 * rate), GaussianDpEvent(2 * noise))
        events += ((other, steps // 2 + 1, "add_remove"),)
        whole.compose(other, steps // 2 + 1)
    assert epsilon_of(events, delta) == pytest.approx(whole.get_epsilon(delta), rel=1e-12, abs=1e-15)
