"""Compiled local training of a client by plain SGD, with weights that stay in a core's cache from first to last step.

Clipping is by sample (Abadi et al. 2016, arXiv 1607.00133, Algorithm 1). A dense layer's gradient norm is the norm of
its input times that of its output's gradient (Goodfellow 2015, arXiv 1510.01799). Convolutions form gradients by row.
"""

import hashlib
import platform
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from accord.engines.compiled import layer_table, layers, products, vector_copy
from accord.engines.compiled import layer_table as at
from accord.engines.compiled.products import FLOAT32_BYTES, compiled
from accord.privacy import chacha_normals, clipping
from accord.privacy.chacha_normals import add_normals
from accord.privacy.clipping import ROUNDING

DATA, TRAINING, CLIPPING, NOISE = range(4)
"""Stages that are timed separately."""
ALL_STEPS, SUM, APPLY = range(3)
"""Runs all of a client's steps, or only sums the gradients of some rows of a step, or only applies their sum."""


class Examples(NamedTuple):
    """The training table.

    Attributes:
        x: features as bytes `[rows, bytes]`, of uint8 pixels or float32, read-only.
        pixels: whether features are pixels, which are converted to `pixel / 255`.
        image: channels and pixels of an image that is processed channels last. Otherwise 1 and the numbers of a row.
        labels: `[rows]`, read-only.
    """

    x: Any
    pixels: bool
    image: Any
    labels: Any


class NetworkLayout(NamedTuple):
    """A network.

    Attributes:
        layers: `[layers, COLUMNS]`, with the columns of `layer_table.py`.
        micro: rows worked on at once.
        tensors: begin and length of each parameter, and where its draws begin in `noise_index`. The last is -1 where
            draws have the parameter's own order.
        noise_index: the position of each draw in the parameters.
    """

    layers: Any
    micro: int
    tensors: Any
    noise_index: Any


class Update(NamedTuple):
    """What a step does with gradients.

    Attributes:
        rate: step size for the mean gradient, or for the sum under clipping and where a step is done in parts.
        clip_norm: bound on each row's gradient. 0 does not clip.
        noise_std: standard deviation of the noise on each step's sum. 0 adds none.
        fine: step of the grid to which sum and noise are rounded.
        coarse: step of the grid to which both together are rounded.
        keys: noise key of each step, `[steps, 8]`.
    """

    rate: float
    clip_norm: float
    noise_std: float
    fine: float
    coarse: float
    keys: Any


class Memory(NamedTuple):
    """Memory reused from step to step. Allocating it anew costs a tenth of a step.

    Attributes:
        space: activations and their gradients of `micro` rows, float32.
        argmax: the positions that pools note, int32.
        total: what a step adds to the parameters, or under clipping the sum of gradients, float32 `[numbers]`.
            `SUM` writes it and `APPLY` reads it. Empty where each step has a single piece and no clipping.
    """

    space: Any
    argmax: Any
    total: Any


_F32_ONE, _F32_ZERO = np.float32(1), np.float32(0)
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_HAS_TICKS = platform.machine().lower() in ("x86_64", "amd64")  # elsewhere a program may not be allowed to read them


def _build_ticks(context: Any) -> Any:
    """Builds a read of the processor's cycle counter."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not _HAS_TICKS:
            return context.get_constant(types.int64, 0)
        kind = ir.FunctionType(ir.IntType(64), [])
        counter = get_or_insert_function(builder.module, kind, "llvm.readcyclecounter")  # type: ignore[no-untyped-call]
        return builder.call(counter, [])

    return types.int64(), build


_ticks: Any = intrinsic(_build_ticks)


@compiled
def _gather(examples, rows, into):  # type: ignore[no-untyped-def]
    """Copies rows of the table as float32 `[n, numbers]`, channels last where the network works on images."""
    x, pixels = examples.x, examples.pixels
    channels, positions = examples.image[0], examples.image[1]
    for i in range(len(rows)):
        line = into[i]
        if pixels:
            source = x[rows[i]]
            for j in range(len(line)):
                line[j] = np.float32(source[j]) / np.float32(255)
        else:
            number = x[rows[i]].view(np.float32)
            for j in range(len(line)):
                line[j] = number[j]
        if channels > 1:
            turned = line.copy()
            for c in range(channels):
                for p in range(positions):
                    line[p * channels + c] = turned[c * positions + p]


@compiled
def _forward(network, rows, params, space, micro, argmax, arguments):  # type: ignore[no-untyped-def]
    for i in range(len(network)):
        layer = network[i]
        kind = layer[at.KIND]
        if kind == at.CONVOLUTION:
            layers.unfold_patches(layer, rows, space, micro)
        if kind == at.DENSE or kind == at.CONVOLUTION:
            layers.dense(layer, rows, params, space, micro, arguments)
        elif kind == at.POOL:
            layers.pool(layer, rows, space, micro, argmax)
        elif kind == at.TO_CHANNELS_FIRST:
            layers.to_channels_first(layer, rows, space, micro)
        else:
            layers.activate(layer, rows, space, micro)


@compiled
def _backward(network, rows, params, space, micro, argmax, arguments):  # type: ignore[no-untyped-def]
    """Computes the gradients by layers' outputs, as far back as a layer with weights needs them."""
    for i in range(len(network) - 1, -1, -1):
        layer = network[i]
        kind = layer[at.KIND]
        if kind == at.RELU or kind == at.TANH:
            layers.activate_back(layer, rows, space, micro)
        elif not layer[at.NEEDS_INPUT_GRAD]:
            continue
        elif kind == at.POOL:
            layers.pool_back(layer, rows, space, micro, argmax)
        elif kind == at.TO_CHANNELS_FIRST:
            layers.to_channels_first_back(layer, rows, space, micro)
        else:
            layers.dense_back(layer, rows, params, space, micro, arguments)
            if kind == at.CONVOLUTION:
                layers.fold_patches(layer, rows, space, micro)


@njit(error_model="numpy", fastmath={"reassoc"})
def _square(values):  # type: ignore[no-untyped-def]
    """Sum of squares, in float64."""
    total = np.float64(0)  # a float32 sum would round by more than clipping allows for
    for i in range(len(values)):
        total += np.float64(values[i]) * np.float64(values[i])
    return total


@compiled
def _squares(network, rows, space, micro, squares, arguments):  # type: ignore[no-untyped-def]
    """Squared norm of each row's gradient over all layers. Forms the gradients of convolutions."""
    squares[:rows] = 0
    for number in range(len(network)):
        layer = network[number]
        if layer[at.KIND] == at.DENSE:
            in_features, out_features = layer[at.IN_FEATURES], layer[at.OUT_FEATURES]
            first, last = micro * layer[at.FROM], micro * layer[at.GRAD_TO]
            extra = 1.0 if layer[at.BIAS] >= 0 else 0.0  # the bias is a weight whose input is 1
            for i in range(rows):
                input_square = _square(space[first + i * in_features : first + (i + 1) * in_features]) + extra
                # For such an input a clipped gradient by the output would be too small for float32. Drop the row.
                input_square = input_square if input_square < _LARGEST_FLOAT32 else np.inf
                squares[i] += input_square * _square(space[last + i * out_features : last + (i + 1) * out_features])
        elif layer[at.KIND] == at.CONVOLUTION:
            count, out_features = layer[at.IN_FEATURES] * layer[at.OUT_FEATURES], layer[at.OUT_FEATURES]
            size = count + out_features
            for i in range(rows):
                begin = micro * layer[at.PER_SAMPLE_GRAD] + i * size
                sample_grad = space[begin : begin + size]
                sample_grad[count:] = _F32_ZERO
                address = sample_grad.ctypes.data
                layers.add_gradient(
                    layer, (i, 1), _F32_ONE, space, micro, address, sample_grad[count:], _F32_ZERO, arguments
                )
                squares[i] += _square(sample_grad if layer[at.BIAS] >= 0 else sample_grad[:count])


@compiled
def _clip(network, rows, space, micro, clip_norm, squares, factors):  # type: ignore[no-untyped-def]
    """Scales gradients by dense layers' outputs. A row whose norm is NaN or infinite becomes zeros."""
    for i in range(rows):
        norm = np.sqrt(np.float32(squares[i]))
        factor = clip_norm / (norm * np.float32(ROUNDING))  # rounded down, as in `clipping.factor_of`
        factors[i] = min(factor, _F32_ONE) if norm < np.float32(np.inf) else _F32_ZERO
    for number in range(len(network)):
        layer = network[number]
        if layer[at.KIND] != at.DENSE:
            continue
        in_features, out_features = layer[at.IN_FEATURES], layer[at.OUT_FEATURES]
        first, last = micro * layer[at.FROM], micro * layer[at.GRAD_TO]
        for i in range(rows):
            g = space[last + i * out_features : last + (i + 1) * out_features]
            if factors[i] == _F32_ZERO:  # write zeros to both sides of the product, since 0 * NaN is NaN
                g[:] = _F32_ZERO
                space[first + i * in_features : first + (i + 1) * in_features] = _F32_ZERO
            elif factors[i] < _F32_ONE:
                for j in range(out_features):
                    g[j] *= factors[i]


@compiled
def _descend(network, rows, alpha, space, micro, target, factors, private, arguments):  # type: ignore[no-untyped-def]
    """Adds `alpha` times the gradient, summed over rows, to the parameters or to a sum of gradients."""
    for number in range(len(network)):
        layer = network[number]
        if layer[at.KIND] != at.DENSE and layer[at.KIND] != at.CONVOLUTION:
            continue
        begin = layer[at.WEIGHT]
        bias = target[max(0, layer[at.BIAS]) :]
        if layer[at.KIND] == at.DENSE or not private:
            weight = target.ctypes.data + FLOAT32_BYTES * begin
            layers.add_gradient(layer, (0, rows), alpha, space, micro, weight, bias, _F32_ONE, arguments)
            continue
        count, out_features = layer[at.IN_FEATURES] * layer[at.OUT_FEATURES], layer[at.OUT_FEATURES]
        into = target[begin : begin + count]
        for i in range(rows):
            if factors[i] == _F32_ZERO:  # the row's gradient may be NaN
                continue
            scale = alpha * factors[i]
            first = micro * layer[at.PER_SAMPLE_GRAD] + i * (count + out_features)
            sample_grad = space[first : first + count + out_features]
            for j in range(count):
                into[j] += scale * sample_grad[j]
            if layer[at.BIAS] >= 0:
                for j in range(out_features):
                    bias[j] += scale * sample_grad[count + j]


@compiled
def _add_noise(keys, std, fine, coarse, total, layout, ordered):  # type: ignore[no-untyped-def]
    """Adds each tensor's draws under its number, by way of `ordered` where draws and parameters differ in order."""
    tensors, index = layout.tensors, layout.noise_index
    for number in range(len(tensors)):
        begin, count, known = tensors[number]
        if known < 0:
            part = total[begin : begin + count].reshape((1, count))
            add_normals(keys, np.uint32(number), std, fine, coarse, part)
            continue
        part = ordered[:count]
        for j in range(count):
            part[j] = total[index[known + j]]
        add_normals(keys, np.uint32(number), std, fine, coarse, part.reshape((1, count)))
        for j in range(count):
            total[index[known + j]] = part[j]


@compiled
def _pass(examples, rows, params, layout, memory, clip_norm, clipping, arguments, ticks):  # type: ignore[no-untyped-def]
    """Runs forward and backward on at most `micro` rows. Under clipping, also clips each row's gradient."""
    network, micro, space = layout.layers, layout.micro, memory.space
    image, (squares, factors) = examples.image, clipping
    num_rows, numbers, last = len(rows), image[0] * image[1], network[len(network) - 1]
    began = _ticks()
    into = space[micro * network[0][at.FROM] : micro * network[0][at.FROM] + num_rows * numbers]
    _gather(examples, rows, into.reshape((num_rows, numbers)))
    read = _ticks()
    _forward(network, num_rows, params, space, micro, memory.argmax, arguments)
    classes = last[at.OUT]
    grads = space[micro * last[at.GRAD_TO] : micro * last[at.GRAD_TO] + num_rows * classes]
    grads[:] = space[micro * last[at.TO] : micro * last[at.TO] + num_rows * classes]
    layers.loss_gradient(grads.reshape((num_rows, classes)), examples.labels, rows)
    _backward(network, num_rows, params, space, micro, memory.argmax, arguments)
    walked = _ticks()
    if clip_norm > 0:
        _squares(network, num_rows, space, micro, squares, arguments)
        _clip(network, num_rows, space, micro, clip_norm, squares, factors)
    ticks[DATA] += read - began
    ticks[TRAINING] += walked - read
    ticks[CLIPPING] += _ticks() - walked


@compiled
def _train(examples, rows, counts, params, layout, update, memory, part, ticks):  # type: ignore[no-untyped-def]
    """Runs all of a client's steps, or one part of one step.

    Args:
        examples: the `Examples`.
        rows: table rows of each step, `[steps, width]`, with those to use first.
        counts: number of rows to use in each step, `[steps]`.
        params: the client's parameters `[numbers]`, changed.
        layout: the network's `NetworkLayout`.
        update: the `Update` of each step.
        memory: scratch, a `Memory`.
        part: `ALL_STEPS`, or `SUM` to leave the parameters alone, or `APPLY` to add a step's noise and total to them.
        ticks: processor ticks by stage, `[4]`, added to.
    """
    network, micro, space, total = layout.layers, layout.micro, memory.space, memory.total
    rate, clip_norm = np.float32(update.rate), np.float32(update.clip_norm)
    std, fine, coarse = np.float32(update.noise_std), np.float32(update.fine), np.float32(update.coarse)
    arguments = products.blas_arguments()
    squares, factors = np.empty(micro, np.float64), np.empty(micro, np.float32)
    private = clip_norm > 0
    ordered = np.empty(len(params) if std > 0 else 0, np.float32)
    for step in range(len(rows)):
        count = counts[step]
        pieces = -(-count // micro)
        alpha = -rate if part != ALL_STEPS else -rate / np.float32(max(1, count))
        # The sum must be noised and rounded before any other use. Added to the parameters first, it would be rounded
        # in a way that its sensitivity does not cover.
        alpha, after = (_F32_ONE, -rate) if private else (alpha, _F32_ONE)
        separate = private or pieces > 1 or part != ALL_STEPS  # every piece must see the step's parameters unchanged
        if separate and part != APPLY:
            total[:] = _F32_ZERO
        for piece in range(pieces):
            mine = rows[step, count * piece // pieces : count * (piece + 1) // pieces]
            _pass(examples, mine, params, layout, memory, clip_norm, (squares, factors), arguments, ticks)
            if separate:
                began = _ticks()
                _descend(network, len(mine), alpha, space, micro, total, factors, private, arguments)
                ticks[TRAINING] += _ticks() - began
        if part == SUM:
            continue
        began = _ticks()
        if std > 0:
            _add_noise(update.keys[step : step + 1], std, fine, coarse, total, layout, ordered)
        noised = _ticks()
        if separate:
            for j in range(len(params)):
                params[j] += after * total[j]
        elif pieces == 1:
            _descend(network, count, alpha, space, micro, params, factors, private, arguments)
        ticks[NOISE] += noised - began
        ticks[TRAINING] += _ticks() - noised


def _sources() -> str:
    """Digest of all source files of the compiled code."""
    digest = hashlib.sha256()
    for module in (layer_table, layers, vector_copy, products, chacha_normals, clipping, sys.modules[__name__]):
        digest.update(Path(module.__file__ or "").read_bytes())
    return digest.hexdigest()


def _compile() -> Any:
    """Compiles the training once a machine. Cached where Numba can write to a folder."""
    integer, real, double = types.int64, types.float32, types.float64
    tuples: Any = types.NamedTuple
    bytes_of_rows = types.Array(types.uint8, 2, "C", readonly=True)
    labels = types.Array(integer, 1, "C", readonly=True)
    signature = types.void(
        tuples((bytes_of_rows, types.boolean, integer[::1], labels), Examples),
        integer[:, ::1],
        integer[::1],
        real[::1],
        tuples((integer[:, ::1], integer, integer[:, ::1], integer[::1]), NetworkLayout),
        tuples((double, double, double, double, double, types.uint32[:, ::1]), Update),
        tuples((real[::1], types.int32[::1], real[::1]), Memory),
        integer,
        integer[::1],
    )

    def train(examples, rows, counts, params, layout, update, memory, part, ticks):  # type: ignore[no-untyped-def]
        _train(examples, rows, counts, params, layout, update, memory, part, ticks)

    # Names the cache's file. Numba looks for changes in this source only, and fails on a stale file's unknown types.
    train.__qualname__ = f"train_{_sources()[:16]}"
    return chacha_normals.compile_cached(signature, train)


train = _compile()
