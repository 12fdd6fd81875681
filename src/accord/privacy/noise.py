"""The Gaussian mechanism's noise: drawn from a named stream, one flat vector, cut to the parameters' shapes.

In a simulation the stream is seeded, so that a run can be repeated; whoever knows the seed can take the
noise off again. Records therefore mark it `simulated`. It protects nobody outside a simulation.

Noise is most of what a private step costs. PyTorch draws float32 normals four times as fast as NumPy, and in one
operation, so that other threads are not held up; its generator takes no more than 32 bits of a seed, which is too few
for a stream a client a round. So each vector is drawn by a PyTorch generator whose whole state, 624 words, comes from
the named stream.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord import params as p
from accord.checks import positive
from accord.errors import PrivacyError
from accord.params import Params

# The state of PyTorch's generator on the CPU: a 24-byte head, 624 words of the Mersenne twister in 8 bytes each, a
# 40-byte tail. `random_` of such a generator is NumPy's MT19937 with the same words: the tests hold that.
_WORDS = slice(24, 24 + 624 * 8)
_STATE_BYTES = 24 + 624 * 8 + 40


_TAIL = 4.0
_BLOCK = 256
_BEYOND = float(torch.special.ndtr(torch.tensor(-_TAIL, dtype=torch.float64)))
"""P(Z > 4) for a standard normal Z."""


def torch_generator(stream: np.random.Generator) -> torch.Generator:
    """A PyTorch generator on the CPU, all of its state drawn from `stream` (Matsumoto & Nishimura 1998, mt19937).

    Raises:
        PrivacyError: this PyTorch keeps its generator's state in another form.
    """
    generator = torch.Generator()
    state = generator.get_state()
    if state.numel() != _STATE_BYTES:
        raise PrivacyError(f"torch {torch.__version__} has a random generator of a kind not known; use torch 2.13")
    words = stream.integers(2**32, size=624, dtype=np.uint64)
    state[_WORDS] = torch.from_numpy(words.view(np.uint8))
    return generator.set_state(state)


def standard_normal(stream: np.random.Generator, count: int, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """Independent N(0, 1), shape `[count]`, on the CPU.

    In float32 PyTorch's Box-Muller transform of 24-bit uniforms, which ends at 5.77: an output past the end of the
    noise would tell two data sets apart for certain, a mass that no accountant adds to delta. So what lies beyond 4 is
    drawn again from the normal law's tail, by its inverse in float64, out to 9.4. In float64 NumPy's ziggurat
    (Marsaglia & Tsang 2000).

    Args:
        stream: advanced.
        count: how many, >= 0.
        dtype: float32 or float64.
        out: where to, of that shape and dtype; None makes a tensor.

    Raises:
        PrivacyError: another dtype, or an unknown PyTorch generator.
    """
    if dtype not in (torch.float32, torch.float64):
        raise PrivacyError(f"noise is drawn in float32 or float64, not {dtype}; set training.dtype")
    drawn = torch.empty(count, dtype=dtype) if out is None else out
    if dtype == torch.float64:
        return drawn.copy_(torch.from_numpy(stream.standard_normal(count)))
    drawn.normal_(generator=torch_generator(stream))
    values, far = drawn.numpy(), _far(drawn)
    beyond = torch.from_numpy(_BEYOND * (1 - stream.random(len(far))))
    values[far] = np.copysign(-torch.special.ndtri(beyond).numpy(), values[far])
    return drawn


def _far(drawn: Tensor) -> NDArray[np.int64]:
    """Where a vector lies beyond the tail's start: first which blocks, as there are six in a hundred thousand."""
    whole = len(drawn) - len(drawn) % _BLOCK
    blocks = drawn[:whole].view(-1, _BLOCK)
    rest = drawn[whole:].numpy()
    found = [whole + np.flatnonzero(np.abs(rest) > _TAIL)]
    if len(blocks):
        some = np.flatnonzero(np.maximum(blocks.amax(1).numpy(), -blocks.amin(1).numpy()) > _TAIL)
        block, place = np.nonzero(np.abs(blocks.numpy()[some]) > _TAIL)
        found.insert(0, some[block] * _BLOCK + place)
    return np.concatenate(found)


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
