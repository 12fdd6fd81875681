"""The Gaussian mechanism, which adds noise from a named stream to a sum and rounds the result.

In a simulation the stream is seeded, so that a run can be repeated. Whoever knows the seed can subtract the noise.
Records therefore mark it `simulated`. It protects nobody outside a simulation.

In float32 the normals come from `chacha_normals.py`, under a fresh key of 256 bits that the stream gives for each call.
They are a function of that key alone, the same on every machine and at any thread count. In float64 they are NumPy's
ziggurat (Marsaglia & Tsang 2000). Both are finite approximations of a normal law. A float32 normal is right to a unit
or two in its last place. None lies beyond 9.49 standard deviations, past which there is 2e-21 of the law.

Sum and noise are rounded to a grid before and after they are added (see `rounding.py`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from accord.core.checks import positive
from accord.core.errors import PrivacyError
from accord.core.params import Params
from accord.privacy import rounding


def ready() -> None:
    """Loads the compiled kernel, so that no round waits for it. A machine's first private run compiles it."""
    from accord.privacy import chacha_normals  # noqa: F401


def add_rounded(streams: Sequence[np.random.Generator], sums: Sequence[Tensor], std: float) -> None:
    """Adds noise to each client's sums and rounds them, in place, as `rounding.released` does.

    Args:
        streams: one stream a client, advanced by the draws.
        sums: tensors `[clients, ...]` of one dtype, float32 or float64, that need no gradient. Draws are assigned in
            the order of each client's indices, whatever the memory layout.
        std: standard deviation of the noise, as `PrivacyPlan.noise_std_for` gives it.

    Raises:
        PrivacyError: another dtype, or a standard deviation that is not finite or is 0. Nothing was changed then.
    """
    _draw(streams, sums, std, rounding.grids(std))


def gaussian(generator: np.random.Generator, like: Mapping[str, Tensor], std: float) -> Params:
    """Draws independent N(0, std^2) for every number in `like` (Dwork & Roth 2014, Appendix A), for `noised` to add.

    Draws are ordered with each tensor's first axis last. In that order an engine that stores dense weights with outputs
    last adds the draws as they come.

    Args:
        generator: the stream, advanced by the draws.
        like: gives names, shapes, dtype (float32 or float64) and device.
        std: standard deviation, > 0.

    Raises:
        PrivacyError: a dtype other than float32 and float64.

    >>> noise = gaussian(np.random.default_rng(0), {"w": torch.zeros(2, 3)}, 1.0)
    >>> noise["w"].shape
    torch.Size([2, 3])
    """
    positive(std=std)
    normals = {
        name: torch.zeros_like(value.movedim(0, -1) if value.dim() else value, memory_format=torch.contiguous_format)
        for name, value in like.items()
    }
    _draw([generator], [value.unsqueeze(0) for value in normals.values()], std, None)
    return {name: value.movedim(-1, 0).contiguous() if value.dim() else value for name, value in normals.items()}


def noised(total: Mapping[str, Tensor], noise: Mapping[str, Tensor], std: float) -> Params:
    """The value released for a sum, which is the sum plus `noise`, rounded. Works under `vmap`.

    Args:
        total: the sum.
        noise: draws of `gaussian` with the same `std`, names and shapes.
        std: standard deviation, as `PrivacyPlan.noise_std_for` gives it.
    """
    return {name: rounding.released(value, noise[name], std) for name, value in total.items()}


def _draw(
    streams: Sequence[np.random.Generator], into: Sequence[Tensor], std: float, grids: rounding.Grids | None
) -> None:
    """Adds noise in place, rounded to the grids where there are any."""
    # Compare in float32: a standard deviation that rounds to 0 there would release the sum without noise.
    if not np.isfinite(std) or np.float32(std) == 0:
        raise PrivacyError(f"noise needs a finite standard deviation other than 0, not {std}")
    wrong = next((value.dtype for value in into if value.dtype not in (torch.float32, torch.float64)), None)
    if wrong is not None:
        raise PrivacyError(f"noise is drawn in float32 or float64, not {wrong}; set training.dtype")
    if any(len(value) != len(streams) for value in into):
        raise PrivacyError("noise needs a stream for each client")
    # Imported here, since loading the compiled kernel takes half a second and runs without noise need none.
    from accord.privacy.chacha_normals import NO_GRIDS, add_normals, key_of

    keys = np.stack([key_of(stream) for stream in streams])
    # One key a client and call. The tensor's number selects its part of the keystream, so draws never overlap.
    for number, value in enumerate(into):
        fast = value.dtype == torch.float32 and value.is_contiguous() and value.device.type == "cpu"
        if fast:
            add_normals(keys, number, std, *(grids or NO_GRIDS), value.view(len(value), -1).numpy())
            continue
        # Other layouts, dtypes and devices draw into a contiguous CPU tensor first, which gives the same draws.
        normals = torch.zeros(value.shape, dtype=value.dtype)
        if value.dtype == torch.float64:
            for i, stream in enumerate(streams):
                normals[i] = torch.from_numpy(stream.standard_normal(value[i].numel()) * std).view(value[i].shape)
        else:
            add_normals(keys, number, std, *NO_GRIDS, normals.view(len(normals), -1).numpy())
        there = normals.to(value.device)
        value.copy_(value + there if grids is None else rounding.released(value, there, std))
