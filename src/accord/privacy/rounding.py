"""Rounds released values to a grid that does not depend on the data.

Floating-point noise added to a floating-point sum does not hide the sum. Which low bits the result can have depends on
the sum (I. Mironov, On Significance of the Least Significant Bits for Differential Privacy, CCS 2012). One message of
100,000 numbers then reveals almost surely whether a row is present, whatever epsilon was claimed. Laplace and Gaussian
mechanisms in common libraries were broken that way (C. Ilvento 2020, arXiv 1912.04222; N. Holohan & S. Braghin, Secure
Random Sampling in Differential Privacy, ESORICS 2021, arXiv 2107.10138).

There are two grids, powers of two that depend only on the noise's standard deviation `std`, which is public:

    fine    2^floor(log2 std) * 2^-20    the sum and the noise are each rounded to it, half to even
    coarse  2^floor(log2 std) * 2^-12    their sum is rounded to it, and that is released

Why this is private. Rounding commutes with shifts by multiples of the grid, so that (rounded sum + rounded noise) is
the rounding of (rounded sum + noise). That is post-processing of the Gaussian mechanism on the rounded sum. Both are
whole numbers of fine steps. Floating-point addition of two exact numbers is a function of their exact sum, even where
that does not fit the mantissa. So is the coarse rounding. Nothing of the data below the fine grid is left.

What it costs. Rounding the sum moves each of its d numbers by at most half a fine step, so that two sums at distance s
lie at most s + sqrt(d) 2^-20 std apart. `std_for` widens the noise by exactly that, which is 0.03% for 100,000 numbers
and a noise multiplier of 1. The coarse rounding is post-processing and costs no privacy. In accuracy it adds at most
(2^-12 std)^2 / 12 to a variance of std^2.

Why two grids. A single grid of 2^-12 would move sums by sqrt(d) 2^-12 std, 8% of std for 100,000 numbers. A single grid
of 2^-20 would show the sampler's own last bits. Beyond one std float32 has 16 numbers or fewer for each such step, and
some are likelier than others. A coarse step is 256 fine ones, over which this evens out.
"""

import math
from typing import NamedTuple

from torch import Tensor

from accord.core.checks import positive
from accord.core.errors import PrivacyError

FINE_BITS = 20
"""The fine grid's step is smaller than `std` by a factor of 2^20 to 2^21."""
COARSE_BITS = 12
"""The coarse grid's step is smaller than `std` by a factor of 2^12 to 2^13."""
_MOST_WIDENED = 2.0


class Grids(NamedTuple):
    """The steps of the two grids, powers of two."""

    fine: float
    coarse: float


def grids(std: float) -> Grids:
    """The grids for noise of standard deviation `std`.

    Raises:
        PrivacyError: `std` is so small or large that float32 cannot hold numbers on the grid.

    >>> grids(1.5) == (2.0**-20, 2.0**-12), grids(2.0) == (2.0**-19, 2.0**-11)
    (True, True)
    """
    # frexp's mantissa lies in [1/2, 1), so floor(log2 std) is exponent - 1, exactly and without a logarithm.
    _, exponent = math.frexp(std)
    fine = math.ldexp(1.0, exponent - 1 - FINE_BITS) if 0 < std < math.inf else 0.0
    if not 2.0**-126 <= fine <= 2.0**64:
        raise PrivacyError(f"noise needs a finite standard deviation other than 0 that float32 can round, not {std:g}")
    return Grids(fine, math.ldexp(fine, FINE_BITS - COARSE_BITS))


def std_for(std: float, sensitivity: float, numbers: int) -> float:
    """The standard deviation to draw with, so that a rounded sum has the privacy that `std` gives an exact one.

    Let r = std / sensitivity, and let `out` be the result. The rounded sum's sensitivity is at most sensitivity +
    sqrt(numbers) 2^-20 out. The noise is r times that for out = std / (1 - r sqrt(numbers) 2^-20).

    Args:
        std: standard deviation of the noise that is accounted.
        sensitivity: L2 sensitivity of the exact sum.
        numbers: number of coordinates of the sum.

    Raises:
        PrivacyError: the sum has so many numbers that the noise would double.

    >>> round(std_for(1.0, 1.0, 100_000), 6)
    1.000302
    """
    positive(std=std, sensitivity=sensitivity)
    share = std / sensitivity * math.sqrt(numbers) * 2.0**-FINE_BITS
    if share > 1 - 1 / _MOST_WIDENED:
        raise PrivacyError(
            f"privacy.noise_multiplier {std / sensitivity:g} on {numbers:,} parameters: rounding the sum would move it "
            "by as much as one unit does; use a smaller model or a smaller multiplier"
        )
    return std / (1 - share)


def released(total: Tensor, noise: Tensor, std: float) -> Tensor:
    """The value released for a sum and its noise, a new tensor of multiples of the coarse grid.

    Args:
        total: the sum, of any shape, float32 or float64.
        noise: noise drawn with standard deviation `std`, of the same shape.
        std: determines the grids.

    >>> import torch
    >>> released(torch.tensor([0.1, 0.2]), torch.tensor([0.3, -0.7]), 1.0) * 2**12
    tensor([ 1638., -2048.])
    """
    fine, coarse = grids(std)
    # Dividing by a power of two is exact, so rounding gives whole numbers of fine steps, and then of coarse ones.
    steps = (total / fine).round() + (noise / fine).round()
    return (steps * (fine / coarse)).round() * coarse
