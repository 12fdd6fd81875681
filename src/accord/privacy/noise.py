"""The Gaussian mechanism's noise: drawn from a named stream and added to tensors where they lie.

In a simulation the stream is seeded, so that a run can be repeated; whoever knows the seed can take the
noise off again. Records therefore mark it `simulated`. It protects nobody outside a simulation.

In float32 the normals come from `normals.py`, under a key of 256 bits that the stream gives anew for each call, and
are a function of that key alone: the same on every machine, at any thread count. In float64 they are NumPy's
ziggurat (Marsaglia & Tsang 2000).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from accord.core.checks import positive
from accord.core.errors import PrivacyError
from accord.core.params import Params


def ready() -> None:
    """Loads the compiled kernel, so that no round waits for it: on a machine's first private run it is compiled."""
    from accord.privacy import chacha_normals as normals  # noqa: F401


def add(streams: Sequence[np.random.Generator], into: Sequence[Tensor], scales: Sequence[float]) -> None:
    """Adds to each client's numbers its `scale` times independent N(0, 1) from its own stream, in place.

    Args:
        streams: one a client; advanced.
        into: tensors `[clients, ...]` of one dtype, float32 or float64, that need no gradient; the draws are laid over
            each client's in the order of its indices, whatever its memory's.
        scales: a standard deviation a client, of either sign.

    Raises:
        PrivacyError: another dtype, or a scale that is not finite or is 0; nothing was added then.
    """
    if not all(np.isfinite(scale) and np.float32(scale) != 0 for scale in scales):
        raise PrivacyError(f"noise needs finite standard deviations other than 0, not {list(scales)}")
    wrong = next((value.dtype for value in into if value.dtype not in (torch.float32, torch.float64)), None)
    if wrong is not None:
        raise PrivacyError(f"noise is drawn in float32 or float64, not {wrong}; set training.dtype")
    if any(len(value) != len(streams) for value in into) or len(scales) != len(streams):
        raise PrivacyError("noise needs a stream and a standard deviation for each client")
    # Loading the compiled kernel takes half a second: only those who draw noise wait for it.
    from accord.privacy.chacha_normals import add_normals, key_of

    keys = np.stack([key_of(stream) for stream in streams])
    widths = np.array(scales, dtype=np.float32)
    for number, value in enumerate(into):
        if value.dtype == torch.float64:
            for i, stream in enumerate(streams):
                drawn = torch.from_numpy(stream.standard_normal(value[i].numel())).view(value[i].shape)
                value[i].add_(drawn.to(value.device), alpha=scales[i])
        elif value.is_contiguous() and value.device.type == "cpu":
            add_normals(keys, number, widths, value.view(len(value), -1).numpy())
        else:
            drawn = torch.zeros(value.shape)
            add_normals(keys, number, widths, drawn.view(len(value), -1).numpy())
            value.add_(drawn.to(value.device))


def gaussian(generator: np.random.Generator, like: Mapping[str, Tensor], std: float) -> Params:
    """Independent N(0, std^2) for every number in `like` (Dwork & Roth 2014, Appendix A).

    Drawn with each tensor's first axis laid last: in that order an engine that keeps dense weights output last adds
    the draws as they come.

    Args:
        generator: the stream; advanced.
        like: gives names, shapes, dtype (float32 or float64) and device.
        std: standard deviation, > 0: noise multiplier times clip norm.

    Raises:
        PrivacyError: a dtype other than float32 and float64.

    >>> noise = gaussian(np.random.default_rng(0), {"w": torch.zeros(2, 3)}, 1.0)
    >>> noise["w"].shape
    torch.Size([2, 3])
    """
    positive(std=std)
    drawn = {
        name: torch.zeros_like(value.movedim(0, -1) if value.dim() else value, memory_format=torch.contiguous_format)
        for name, value in like.items()
    }
    add([generator], [value.unsqueeze(0) for value in drawn.values()], [std])
    return {name: value.movedim(-1, 0).contiguous() if value.dim() else value for name, value in drawn.items()}
