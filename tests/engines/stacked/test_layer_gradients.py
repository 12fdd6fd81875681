"""The forms of a layer's part in the gradient answer alike."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from accord.core.errors import PrivacyError
from accord.engines.stacked.layer_gradients import BySample, LayerGradient, Lookup, Product, Summed, square_sum
from accord.privacy.clipping import factor_of


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def product(places: int = 3) -> Product:
    return Product("w", "b", randn(2, 4 * places, 5), randn(2, 4 * places, 6), places)


def lookup() -> Lookup:
    return Lookup("w", 7, torch.randint(7, (2, 4, 3), generator=torch.Generator().manual_seed(3)), randn(2, 4, 3, 6))


def naive(lookup: Lookup) -> torch.Tensor:
    table = torch.zeros(2, 4, 7, 6, dtype=torch.float64)
    for c in range(2):
        for s in range(4):
            for t in range(3):
                table[c, s, lookup.tokens[c, s, t]] += lookup.g[c, s, t]
    return table


def test_a_product_by_sample_is_the_same_gradient() -> None:
    whole, cut = product(), product().by_sample()
    torch.testing.assert_close(whole.sums(), cut.sums())
    torch.testing.assert_close(whole.squares(), cut.squares())
    factor = torch.rand(2, 4, dtype=torch.float64)
    torch.testing.assert_close(whole.weighted(factor).sums(), cut.weighted(factor).sums())


def test_one_row_a_sample_needs_no_per_sample_gradient() -> None:
    torch.testing.assert_close(product(1).squares(), product(1).by_sample().squares())


def test_where_a_sample_has_several_rows_its_gradient_is_formed() -> None:
    assert isinstance(product().reused(), BySample)
    assert isinstance(product(1).reused(), Product)


@pytest.mark.parametrize("length", [1, 10, 1024, 1025, 50_000, 1_000_000])
def test_norms_of_long_float32_vectors_are_not_short(length: int) -> None:
    """PyTorch's own norm of a million equal numbers is 6e-4 short: sixty times what clipping allows for."""
    value = torch.full((2, length), 0.37)
    torch.testing.assert_close(square_sum(value), value.double().square().sum(1).float(), rtol=3e-6, atol=0.0)


def test_a_norm_does_not_vanish_where_its_square_does() -> None:
    part = Product("w", None, torch.full((1, 1, 40), 2e18), torch.full((1, 1, 10), 2e-23), 1)
    true = 40 * 10 * (2e18 * 2e-23) ** 2
    assert float(part.squares()) >= true


def test_tokens_whose_gradients_cancel_keep_their_norm() -> None:
    """Summed over pairs of places, this norm is lost to rounding, and the sample would not be clipped."""
    generator = torch.Generator().manual_seed(0)
    one = 1e3 * torch.randn(1, 1, 1, 50, generator=generator)
    g = torch.cat([one, -one + 0.1 * torch.randn(1, 1, 1, 50, generator=generator)], dim=2)
    part = Lookup("w", 3, torch.zeros(1, 1, 2, dtype=torch.int64), g).reused()
    clipped = part.weighted(factor_of(part.squares(), 0.1)).sums()["w"]
    assert 0.0999 < float(clipped.norm()) <= 0.1


def test_a_lookup_adds_rows_where_tokens_repeat() -> None:
    found, table = lookup(), naive(lookup())
    torch.testing.assert_close(found.sums()["w"], table.sum(1))
    torch.testing.assert_close(found.squares(), table.square().sum((2, 3)))
    factor = torch.rand(2, 4, dtype=torch.float64)
    torch.testing.assert_close(found.weighted(factor).sums()["w"], (table * factor[:, :, None, None]).sum(1))
    torch.testing.assert_close(found.reused().sums()["w"], table.sum(1))


@pytest.mark.parametrize("make", [product, lambda: product().by_sample(), lookup, lambda: Summed(product().sums())])
def test_every_form_descends_by_its_sum_and_can_be_made_finite(make: Callable[[], LayerGradient]) -> None:
    part = make()
    stack = {name: torch.ones_like(value) for name, value in part.sums().items()}
    part.sgd_step_(stack, 0.25)
    for name, value in part.sums().items():
        torch.testing.assert_close(stack[name], 1 - 0.25 * value)
    poisoned = product(1)
    poisoned.g[0, 0, 0] = float("inf")
    assert all(bool(value.isfinite().all()) for value in poisoned.finite().sums().values())
    assert all(torch.equal(a, b) for a, b in zip(part.finite().sums().values(), part.sums().values(), strict=True))


def test_what_is_summed_cannot_be_clipped_by_sample() -> None:
    summed = Summed(product().sums())
    with pytest.raises(PrivacyError, match="cannot be clipped by sample"):
        summed.squares()
    with pytest.raises(PrivacyError, match="cannot be weighted by sample"):
        summed.weighted(torch.ones(2, 4))


def test_squares_over_strides_are_as_exact() -> None:
    """One large number, then many that a sum from left to right would lose; clipping allows 2e-5."""
    value = torch.full((1024, 2), float(np.sqrt(2.0**-24 * 0.999)))
    value[0] = 1.0
    exact = value[:, 0].double().square().sum()
    for one in (value[:, 0], value.T[0], value[:, 0].clone()):
        assert abs(square_sum(one).double() / exact - 1) < 1e-5
