"""The Gaussian mechanism's noise: drawn from a named stream, one flat vector, cut to the parameters' shapes.

In a simulation the stream is seeded, so that a run can be repeated; whoever knows the seed can take the
noise off again. Records therefore mark it `simulated`. It protects nobody outside a simulation.

Noise is most of what a private step costs, so float32 normals are made by the Box-Muller transform on the
stream's bits, with PyTorch's vector instructions, at a quarter of the time of NumPy's ziggurat.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from accord import params as p
from accord.checks import positive
from accord.errors import PrivacyError
from accord.params import Params


def standard_normal(generator: np.random.Generator, count: int, dtype: torch.dtype) -> Tensor:
    """Independent N(0, 1), shape `[count]`, on the CPU.

    In float32: Box & Muller 1958, "A Note on the Generation of Random Normal Deviates", equation 1, with a radius
    from 31 bits of the stream, so that the largest value is 6.66, and an angle from 32. In float64: NumPy's
    ziggurat (Marsaglia & Tsang 2000).

    Args:
        generator: the stream; advanced.
        count: how many, >= 0.
        dtype: float32 or float64.

    Raises:
        PrivacyError: another dtype.
    """
    if dtype == torch.float64:
        return torch.from_numpy(generator.standard_normal(count))
    if dtype != torch.float32:
        raise PrivacyError(f"noise is drawn in float32 or float64, not {dtype}; set training.dtype")
    half = (count + 1) // 2
    # Through integers(), which lets other threads run; the bit generator's random_raw() does not.
    raw = generator.integers(-(2**63), 2**63 - 1, size=half, dtype=np.int64, endpoint=True)
    bits = torch.from_numpy(raw.view(np.int32))
    out = torch.empty(2, half)
    # u in (0, 1): k + 1/2 over 2^31, whose small values float32 holds exactly.
    radius = (bits[:half] & 0x7FFFFFFF).to(torch.float32).add_(0.5).mul_(2.0**-31).log_().mul_(-2.0).sqrt_()
    angle = bits[half:].to(torch.float32).mul_(math.pi * 2.0**-31)
    torch.cos(angle, out=out[0])
    torch.sin(angle, out=out[1])
    return out.mul_(radius).view(-1)[:count]


def gaussian(generator: np.random.Generator, like: Mapping[str, Tensor], std: float) -> Params:
    """Independent N(0, std^2) for every number in `like` (Dwork & Roth 2014, Appendix A).

    Args:
        generator: the stream; advanced by `count(like)` draws.
        like: gives names, shapes, dtype (float32 or float64) and device.
        std: standard deviation, > 0: noise multiplier times clip norm.

    Raises:
        PrivacyError: a dtype other than float32 and float64.

    >>> noise = gaussian(np.random.default_rng(0), {"w": torch.zeros(2, 3)}, 1.0)
    >>> noise["w"].shape
    torch.Size([2, 3])
    """
    positive(std=std)
    first = next(iter(like.values()))
    return cut(standard_normal(generator, p.count(like), first.dtype).to(first.device) * std, like)


def cut(draws: Tensor, like: Mapping[str, Tensor]) -> Params:
    """A flat vector of draws cut to the shapes of `like`, each tensor's first axis laid last.

    In that order an engine that keeps dense weights output last adds the vector as it comes.
    """
    turned = {name: value.movedim(0, -1) if value.dim() else value for name, value in like.items()}
    return {
        name: value.movedim(-1, 0).contiguous() if value.dim() else value
        for name, value in p.unflatten(draws, turned).items()
    }
