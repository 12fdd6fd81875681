"""The Gaussian mechanism's noise: drawn from a named stream, one flat vector, cut to the parameters' shapes.

In a simulation the stream is seeded, so that a run can be repeated; whoever knows the seed can take the
noise off again. Records therefore mark it `simulated`. It protects nobody outside a simulation.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from accord import params as p
from accord.checks import positive
from accord.errors import PrivacyError
from accord.params import Params

_NUMPY: dict[torch.dtype, Literal["float32", "float64"]] = {torch.float32: "float32", torch.float64: "float64"}


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
    if first.dtype not in _NUMPY:
        raise PrivacyError(f"noise is drawn in float32 or float64, not {first.dtype}; set training.dtype")
    draws = generator.standard_normal(p.count(like), dtype=_NUMPY[first.dtype])
    return p.unflatten(torch.from_numpy(draws).to(first.device) * std, like)
