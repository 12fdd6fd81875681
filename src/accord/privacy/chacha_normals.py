"""Fast float32 normals, from ChaCha8's bits by the Box-Muller transform, compiled for the machine at hand.

Noise is most of the cost of a private step. PyTorch's normals took 2.5 ns each, end at 5.77 standard deviations and
depend on the processor. NumPy's ziggurat took 5 to 11 ns. Here a normal takes 1.2 ns with its addition to the
parameters. Other threads are not blocked. A normal is a function of its key alone, since all operations are those of
IEEE 754 and none are contracted.

The bits are ChaCha with 8 rounds (Bernstein 2008, "ChaCha, a variant of Salsa20"), keyed by 256 bits, with the counter
in word 12 and the number of the tensor in word 14. Three words make two normals (Box & Muller 1958),
z = sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v). As u has 64 bits, and float32 keeps their relative precision, the tail goes
out to 9.49 standard deviations, past which there is 2e-21 of a normal law.

The first use on a machine compiles for six seconds. Numba saves the result beside this file or in the user's cache.
"""

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_U, _F = np.uint32, np.float32
_BLOCKS = 256
"""Blocks of 16 words computed at once, few enough that words and normals stay in the first-level cache."""
_PER_BLOCK = 10
"""Normals made from a block. They use 15 of its 16 words."""
NO_GRIDS = (0.0, 0.0)
"""The grids to give `add_normals` where nothing is rounded."""
_EXPAND = np.frombuffer(b"expand 32-byte k", dtype="<u4")
_S0, _S1, _S2, _S3 = (_U(word) for word in _EXPAND)


def compile_cached(signature: Any, function: Callable[..., None]) -> Callable[..., None]:
    """Compiles a function for its signature and caches the result for later runs where Numba can write to a folder.

    Where the cache is damaged or cannot be written, the function is compiled for this run only.
    """
    try:
        compiled: Callable[..., None] = njit(signature, cache=True, nogil=True, error_model="numpy")(function)
    # A cache that another version wrote may name what this one does not have, which is an AttributeError.
    except (RuntimeError, OSError, EOFError, ValueError, AttributeError, ImportError, pickle.PickleError):
        compiled = njit(signature, nogil=True, error_model="numpy")(function)
    return compiled


def _compiled(signature: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return partial(compile_cached, signature)


_njit = njit(error_model="numpy")
_inlined = njit(inline="always")


@_inlined
def _turned(x, n):  # type: ignore[no-untyped-def]
    return _U((x << _U(n)) | (x >> _U(32 - n)))


@_inlined
def _quarter(a, b, c, d):  # type: ignore[no-untyped-def]
    # Every sum is cast back to uint32, since Numba widens sums to 64 bits and ChaCha's additions wrap at 32.
    a = _U(a + b)
    d = _turned(_U(d ^ a), 16)
    c = _U(c + d)
    b = _turned(_U(b ^ c), 12)
    a = _U(a + b)
    d = _turned(_U(d ^ a), 8)
    c = _U(c + d)
    b = _turned(_U(b ^ c), 7)
    return a, b, c, d


@_inlined
def _double_round(x):  # type: ignore[no-untyped-def]
    x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15 = x
    # The state is a 4 by 4 matrix. The first four quarter rounds mix its columns, the last four its diagonals.
    x0, x4, x8, x12 = _quarter(x0, x4, x8, x12)
    x1, x5, x9, x13 = _quarter(x1, x5, x9, x13)
    x2, x6, x10, x14 = _quarter(x2, x6, x10, x14)
    x3, x7, x11, x15 = _quarter(x3, x7, x11, x15)
    x0, x5, x10, x15 = _quarter(x0, x5, x10, x15)
    x1, x6, x11, x12 = _quarter(x1, x6, x11, x12)
    x2, x7, x8, x13 = _quarter(x2, x7, x8, x13)
    x3, x4, x9, x14 = _quarter(x3, x4, x9, x14)
    return x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15


@_njit
def chacha8(key, tensor, first, words, blocks):  # type: ignore[no-untyped-def]
    """Writes the keystream of `blocks` blocks from counter `first`, with word w of block i in `words[w, i]`.

    Args:
        key: `[8]`.
        tensor: word 14 of the state. Words 13 and 15 are 0.
        first: word 12 of the first block's state.
        words: `[16, >= blocks]`, written.
        blocks: number of blocks.
    """
    k0, k1, k2, k3, k4, k5, k6, k7 = key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7]
    zero = _U(0)
    # The loop runs over blocks, which are independent, so that the compiler makes each operation a vector one.
    for i in range(blocks):
        count = _U(first + _U(i))
        x = _S0, _S1, _S2, _S3, k0, k1, k2, k3, k4, k5, k6, k7, count, zero, _U(tensor), zero
        x = _double_round(x)
        x = _double_round(x)
        x = _double_round(x)
        x = _double_round(x)
        words[0, i] = _U(x[0] + _S0)
        words[1, i] = _U(x[1] + _S1)
        words[2, i] = _U(x[2] + _S2)
        words[3, i] = _U(x[3] + _S3)
        words[4, i] = _U(x[4] + k0)
        words[5, i] = _U(x[5] + k1)
        words[6, i] = _U(x[6] + k2)
        words[7, i] = _U(x[7] + k3)
        words[8, i] = _U(x[8] + k4)
        words[9, i] = _U(x[9] + k5)
        words[10, i] = _U(x[10] + k6)
        words[11, i] = _U(x[11] + k7)
        words[12, i] = _U(x[12] + count)
        words[13, i] = x[13]
        words[14, i] = _U(x[14] + _U(tensor))
        words[15, i] = x[15]


@_njit
def box_muller(high, low, phase, scale, first, second):  # type: ignore[no-untyped-def]
    """Adds `scale` times the two normals of each three words to `first` and `second`.

    ln, sin and cos are polynomials that are right to a unit or two in float32's last place (Moshier's Cephes, logf and
    sinf). That of ln is for numbers in [sqrt(1/2), sqrt(2)), those of sine and cosine for angles in [-pi/4, pi/4].

    Args:
        high: `[n]`, upper 32 bits of u.
        low: `[n]`, lower 32 bits of u.
        phase: `[n]`, v times 2^32.
        scale: standard deviation, of either sign.
        first: `[n]`, changed.
        second: `[n]`, changed.
    """
    for i in range(len(first)):
        # u = (high 2^32 + low + 1/2) / 2^64. The half keeps u above 0, where ln is infinite. `below` is 1 - u. Near 1
        # float32 has too few bits for u, but 1 - u keeps its relative precision, which determines ln u there.
        u = _F(high[i]) * _F(2.0**-32) + (_F(low[i]) + _F(0.5)) * _F(2.0**-64)
        below = _F(_U(~high[i])) * _F(2.0**-32) + (_F(_U(~low[i])) + _F(0.5)) * _F(2.0**-64)
        # Split u = 2^exponent (1 + x) with 1 + x in [sqrt(1/2), sqrt(2)); 0x3F3504F3 is sqrt(1/2) as float32 bits.
        bits = _F(u).view(_U)
        exponent = np.int32(_U(bits - _U(0x3F3504F3))) >> np.int32(23)
        x = _U(bits - _U(exponent << np.int32(23))).view(_F) - _F(1)
        x = -below if exponent == 0 else x
        square = x * x
        y = _F(7.0376836292e-2)
        y = y * x - _F(1.1514610310e-1)
        y = y * x + _F(1.1676998740e-1)
        y = y * x - _F(1.2420140846e-1)
        y = y * x + _F(1.4249322787e-1)
        y = y * x - _F(1.6668057665e-1)
        y = y * x + _F(2.0000714765e-1)
        y = y * x - _F(2.4999993993e-1)
        y = y * x + _F(3.3333331174e-1)
        e = _F(exponent)
        y = y * x * square + e * _F(-2.12194440e-4) - _F(0.5) * square
        # ln 2 in two parts: 0.693359375 times the exponent is exact, and -2.12194440e-4 adds what it lacks.
        log = x + y + e * _F(0.693359375)
        radius = np.sqrt(_F(-2) * log) * scale
        # The upper two bits of v are the quadrant, the others an angle in [-pi/4, pi/4).
        angle = _F(np.int32(_U(phase[i] << _U(2)))) * _F(np.pi / 2 * 2.0**-32)
        square = angle * angle
        sin = ((_F(-1.9515295891e-4) * square + _F(8.3321608736e-3)) * square - _F(1.6666654611e-1)) * square
        sin = sin * angle + angle
        cos = (_F(2.443315711809948e-5) * square - _F(1.388731625493765e-3)) * square + _F(4.166664568298827e-2)
        cos = cos * square * square - _F(0.5) * square + _F(1)
        # Selections instead of branches, so that the loop stays a vector one.
        quadrant = phase[i] >> _U(30)
        odd = (quadrant & _U(1)) != 0
        radius = radius if (quadrant & _U(2)) == 0 else -radius
        first[i] += radius * (-sin if odd else cos)
        second[i] += radius * (cos if odd else sin)


@_njit
def _release(total, noise, fine, coarse):  # type: ignore[no-untyped-def]
    """Replaces `total` by the value released for it, as `rounding.released` computes it.

    Args:
        total: `[n]`, changed.
        noise: `[n]`, in fine steps.
        fine: the fine grid's step, a power of two.
        coarse: the coarse grid's step, a power of two.
    """
    # Products with powers of two are exact, so these equal the divisions in `rounding.released` bit for bit.
    per_fine, per_coarse = _F(1) / fine, fine / coarse
    for i in range(len(total)):
        steps = np.rint(total[i] * per_fine) + np.rint(noise[i])
        total[i] = np.rint(steps * per_coarse) * coarse


@_compiled("void(uint32[:, ::1], uint32, float32, float32, float32, float32[:, ::1])")
def add_normals(keys, tensor, std, fine, coarse, targets):  # type: ignore[no-untyped-def]
    """Adds `std` times independent N(0, 1) to every number of `targets`, in place, and rounds to the grids.

    Args:
        keys: `[rows, 8]`, each used once.
        tensor: number of the tensor under those keys, < 2^32.
        std: standard deviation, of either sign.
        fine: the fine grid's step, as `rounding.grids` gives it. 0 does not round.
        coarse: the coarse grid's step.
        targets: `[rows, n]`, n < 10 * 2^32.
    """
    # Draw noise in units of fine steps. Scaling by a power of two commutes with every rounding on the way.
    rounds = fine > 0
    scale = std / fine if rounds else std
    words = np.empty((16, _BLOCKS), dtype=_U)
    spare = np.empty(_PER_BLOCK * _BLOCKS, dtype=_F)
    count = targets.shape[1]
    for i in range(len(targets)):
        target = targets[i]
        for tile in range(-(-count // (_PER_BLOCK * _BLOCKS))):
            start = tile * _PER_BLOCK * _BLOCKS
            left = min(count - start, _PER_BLOCK * _BLOCKS)
            blocks = -(-left // _PER_BLOCK)
            chacha8(keys[i], tensor, _U(tile * _BLOCKS), words, blocks)
            # The last block may make more normals than are left, and rounding needs the noise apart from the sum. Both
            # go through `spare`, and all other normals are added to the target directly.
            direct = left == _PER_BLOCK * blocks and not rounds
            into = target[start : start + left] if direct else spare[: _PER_BLOCK * blocks]
            if not direct:
                into[:] = _F(0)
            # Five groups of three words each. A group gives two normals a block, so five give `_PER_BLOCK`.
            for five in range(5):
                start_of_group = 2 * five * blocks
                box_muller(
                    words[3 * five, :blocks],
                    words[3 * five + 1, :blocks],
                    words[3 * five + 2, :blocks],
                    scale,
                    into[start_of_group : start_of_group + blocks],
                    into[start_of_group + blocks : start_of_group + 2 * blocks],
                )
            if rounds:
                _release(target[start : start + left], into[:left], fine, coarse)
            elif not direct:
                target[start : start + left] += into[:left]


def key_of(stream: np.random.Generator) -> NDArray[np.uint32]:
    """A key drawn from a stream, `[8]`."""
    return stream.integers(2**32, size=8, dtype=_U)
