"""Rounding beside exact arithmetic, and what its cost is charged with."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core.errors import PrivacyError
from accord.privacy import rounding
from accord.privacy.plan import PrivacyPlan
from released import coarse_step, released, widened

STDS = [2.0**-30, 3e-5, 0.7, 1.0, math.nextafter(2.0, 0), 2.0, 12345.6]


@pytest.mark.parametrize("std", STDS)
def test_the_grids_are_powers_of_two_about_the_noise(std: float) -> None:
    fine, coarse = rounding.grids(std)
    assert math.frexp(fine)[0] == math.frexp(coarse)[0] == 0.5
    assert 2**20 <= std / fine < 2**21
    assert 2**12 <= std / coarse < 2**13
    assert coarse == coarse_step(std)


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf, 1e-40, 1e40])
def test_no_grid_where_there_is_no_noise(std: float) -> None:
    with pytest.raises(PrivacyError, match="finite standard deviation"):
        rounding.grids(std)


def test_the_grid_reaches_as_far_as_float32_holds_it() -> None:
    """From float32's least normal number, 2^-126, to steps of which 2^63 are still a float32."""
    for std, fine in ((2.0**-106, 2.0**-126), (2.0**84, 2.0**64), (math.nextafter(2.0**85, 0), 2.0**64)):
        assert rounding.grids(std).fine == fine
    for std in (math.nextafter(2.0**-106, 0), 2.0**85):
        with pytest.raises(PrivacyError, match="finite standard deviation"):
            rounding.grids(std)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("std", STDS)
def test_it_is_exact_arithmetic_on_whole_steps(std: float, dtype: torch.dtype) -> None:
    """Within float32's 24 bits; ties, halves and large sums included."""
    rng = np.random.default_rng(0)
    fine = rounding.grids(std).fine
    sums = np.concatenate([rng.normal(size=500) * std, rng.integers(-600, 600, 500) * fine / 2, rng.normal(size=100)])
    total = torch.from_numpy(sums).to(dtype)
    noise = torch.from_numpy(rng.normal(size=sums.size) * std).to(dtype)
    expected = released({"w": total}, {"w": noise}, std)["w"]
    far = (total.abs() + noise.abs()) / fine >= 2**24
    assert torch.equal(rounding.released(total, noise, std)[~far], expected[~far])
    torch.testing.assert_close(rounding.released(total, noise, std), expected, rtol=4e-7, atol=0)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-9.0, 9.0))
def test_what_is_released_depends_on_whole_fine_steps_alone(one: float, other: float, normal: float) -> None:
    """The proof: two sums that round to the same fine step cannot be told apart, at any size and noise."""
    fine = rounding.grids(1.0).fine
    near = torch.tensor([one, round(one / fine) * fine, other, round(other / fine) * fine], dtype=torch.float32)
    found = rounding.released(near, torch.full_like(near, normal), 1.0)
    steps = (near.double() / fine).round()
    for i, j in itertools.combinations(range(4), 2):
        if steps[i] == steps[j]:
            assert found[i] == found[j]


@pytest.mark.parametrize(("unit", "times"), [("sample", 1), ("batch", 2), ("client", 1), ("local", 2)])
@pytest.mark.parametrize("numbers", [1, 1000, 10**8])
def test_noise_is_widened_by_what_rounding_may_move_the_sum(unit: str, times: int, numbers: int) -> None:
    sampling = {} if unit in ("sample", "batch") else {"sampling": "everyone"}
    plan = PrivacyPlan(unit, 0.3, 1.7, 1e-5, **sampling)  # type: ignore[arg-type]
    std = plan.noise_std_for(numbers)
    assert std == pytest.approx(widened(0.3 * 1.7, times * 0.3, numbers), rel=1e-12)
    # No noise is smaller, by the sensitivity of the rounded sum, than what is accounted.
    moved = times * 0.3 + math.sqrt(numbers) * rounding.grids(std).fine
    assert std / moved >= 1.7 / times


def test_two_rounded_sums_are_no_further_apart_than_is_charged() -> None:
    """At the worst: every number of the one just below the middle of a step, of the other just above."""
    numbers, sensitivity = 10_000, 0.5
    std = rounding.std_for(1.0, sensitivity, numbers)
    fine = rounding.grids(std).fine
    middle = (torch.arange(numbers, dtype=torch.float64) + 0.5) * fine
    step = sensitivity / math.sqrt(numbers)
    below, above = middle - 1e-12, middle + 1e-12 + math.ceil(step / fine) * fine
    nothing = torch.zeros_like(middle)
    # Without the coarse grid, whose rounding is post-processing, sums would be at this distance.
    apart = ((above / fine).round() - (below / fine).round()) * fine
    assert float((above - below).norm()) <= sensitivity + 1e-3
    assert float((above - below).norm()) < float(apart.norm())
    assert float(apart.norm()) <= float((above - below).norm()) + math.sqrt(numbers) * fine
    assert not torch.equal(rounding.released(below, nothing, std), rounding.released(above, nothing, std))


def test_a_sum_too_long_to_round_is_refused() -> None:
    with pytest.raises(PrivacyError, match=r"noise_multiplier 100 on 1,000,000,000 parameters"):
        PrivacyPlan("sample", 1.0, 100.0, 1e-9).noise_std_for(10**9)


def test_noise_is_widened_to_its_double_and_no_further() -> None:
    """At 2^38 numbers rounding may move a sum by 2^19 fine steps, half of the noise: out = 1 + out / 2."""
    assert rounding.std_for(1.0, 1.0, 2**38) == 2.0
    with pytest.raises(PrivacyError, match="as much as one unit does"):
        rounding.std_for(1.0, 1.0, 2**38 + 2**20)
