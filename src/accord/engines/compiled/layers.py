"""Forward and backward of each layer, compiled, on one client's rows.

A layer is a row of whole numbers (`columns.py`); its activations and their gradients lie in one flat space, each a
region `[rows, numbers]`. Images are channels last, so that a convolution is a dense layer on patches
(im2col, Chellapilla et al. 2006). Activations work in place.
"""

import numpy as np

from accord.engines.compiled.layer_table import (
    ACROSS,
    BIAS,
    CHANNELS,
    DENSE,
    DEPTH,
    FROM,
    HIGH,
    IN,
    KERNEL_H,
    KERNEL_W,
    KIND,
    OUT,
    OUT_FIRST,
    PAD_H,
    PAD_W,
    PADDED,
    PATCH_SLOPES,
    PATCHES,
    PICKED,
    PLACES,
    PLACES_H,
    PLACES_W,
    SLOPE_FROM,
    SLOPE_TO,
    STEP_H,
    STEP_W,
    TANH,
    TO,
    WEIGHT,
    WIDE,
)
from accord.engines.compiled.products import PLAIN, TURNED, WIDTH, compiled, multiply
from accord.engines.compiled.vector_copy import add_run, copy_run

_ONE, _NONE = np.float32(1), np.float32(0)


@compiled
def dense(layer, rows, params, space, micro, whole, real):  # type: ignore[no-untyped-def]
    """y = x W + b, of `rows` rows or, in a convolution, of their patches."""
    depth, wide, rows = layer[DEPTH], layer[WIDE], rows * layer[PLACES]
    source = layer[FROM] if layer[KIND] == DENSE else layer[PATCHES]
    y = space[micro * layer[TO] : micro * layer[TO] + rows * wide].reshape((rows, wide))
    held = _NONE
    if layer[BIAS] >= 0:
        bias, held = params[layer[BIAS] : layer[BIAS] + wide], _ONE
        for i in range(rows):
            for j in range(wide):
                y[i, j] = bias[j]
    w, x = params.ctypes.data + WIDTH * layer[WEIGHT], space.ctypes.data + WIDTH * micro * source
    left, step = (TURNED, depth) if layer[OUT_FIRST] else (PLAIN, wide)
    multiply(left, PLAIN, wide, rows, depth, _ONE, w, step, x, depth, held, y.ctypes.data, wide, whole, real)


@compiled
def dense_back(layer, rows, params, space, micro, whole, real):  # type: ignore[no-untyped-def]
    """The gradient by a dense layer's input, or by a convolution's patches: g W^T."""
    depth, wide, rows = layer[DEPTH], layer[WIDE], rows * layer[PLACES]
    into = layer[SLOPE_FROM] if layer[KIND] == DENSE else layer[PATCH_SLOPES]
    w, g = params.ctypes.data + WIDTH * layer[WEIGHT], space.ctypes.data + WIDTH * micro * layer[SLOPE_TO]
    back = space.ctypes.data + WIDTH * micro * into
    left, step = (PLAIN, depth) if layer[OUT_FIRST] else (TURNED, wide)
    multiply(left, PLAIN, depth, rows, wide, _ONE, w, step, g, wide, _NONE, back, depth, whole, real)


@compiled
def add_gradient(layer, first, rows, alpha, space, micro, weight, bias, beta, whole, real):  # type: ignore[no-untyped-def]
    """Adds `alpha` times the gradient by weight and bias, summed over rows, to what begins at two addresses.

    Args:
        layer: a dense layer or a convolution.
        first: row to begin with.
        rows: how many.
        alpha: factor.
        space: activations and their gradients.
        micro: rows that regions have room for.
        weight: address of `[DEPTH, WIDE]`, or `[WIDE, DEPTH]` where `OUT_FIRST`.
        bias: where the bias begins, `[WIDE]`; used where the layer has one.
        beta: 1 adds to the weight, 0 overwrites it; the bias is added to.
        whole: scratch.
        real: scratch.
    """
    depth, wide, places = layer[DEPTH], layer[WIDE], layer[PLACES]
    source = layer[FROM] if layer[KIND] == DENSE else layer[PATCHES]
    x = space.ctypes.data + WIDTH * (micro * source + first * places * depth)
    start, many = micro * layer[SLOPE_TO] + first * places * wide, rows * places
    g = space.ctypes.data + WIDTH * start
    if layer[OUT_FIRST]:
        multiply(PLAIN, TURNED, depth, wide, many, alpha, x, depth, g, wide, beta, weight, depth, whole, real)
    else:
        multiply(PLAIN, TURNED, wide, depth, many, alpha, g, wide, x, depth, beta, weight, wide, whole, real)
    if layer[BIAS] >= 0:
        slopes = space[start : start + many * wide].reshape((many, wide))
        for i in range(many):
            for j in range(wide):
                bias[j] += alpha * slopes[i, j]


@compiled
def _pad(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """The address of a convolution's input, of a padded copy where it pads."""
    if layer[PADDED] < 0:
        return space.ctypes.data + WIDTH * micro * layer[FROM]
    high, run = layer[HIGH], layer[ACROSS] * layer[CHANNELS]
    padded_high, padded_run = high + 2 * layer[PAD_H], run + 2 * layer[PAD_W] * layer[CHANNELS]
    begin = micro * layer[PADDED]
    space[begin : begin + rows * padded_high * padded_run] = _NONE
    source = space.ctypes.data + WIDTH * micro * layer[FROM]
    into = space.ctypes.data + WIDTH * (begin + layer[PAD_H] * padded_run + layer[PAD_W] * layer[CHANNELS])
    for i in range(rows):
        for h in range(high):
            copy_run(into + WIDTH * (i * padded_high + h) * padded_run, source + WIDTH * (i * high + h) * run, run)
    return space.ctypes.data + WIDTH * begin


@compiled
def _unpad(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """The gradient by a convolution's input, from that by its padded input."""
    high, run = layer[HIGH], layer[ACROSS] * layer[CHANNELS]
    padded_high, padded_run = high + 2 * layer[PAD_H], run + 2 * layer[PAD_W] * layer[CHANNELS]
    into = space.ctypes.data + WIDTH * micro * layer[SLOPE_FROM]
    begin = micro * layer[PADDED] + layer[PAD_H] * padded_run + layer[PAD_W] * layer[CHANNELS]
    source = space.ctypes.data + WIDTH * begin
    for i in range(rows):
        for h in range(high):
            copy_run(into + WIDTH * (i * high + h) * run, source + WIDTH * (i * padded_high + h) * padded_run, run)


@compiled
def cut_patches(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """A convolution's patches, each kernel rows, kernel columns, channels."""
    source, channels = _pad(layer, rows, space, micro), layer[CHANNELS]
    high, run = layer[HIGH] + 2 * layer[PAD_H], (layer[ACROSS] + 2 * layer[PAD_W]) * channels
    length, step = layer[KERNEL_W] * channels, layer[STEP_W] * channels
    into = space.ctypes.data + WIDTH * micro * layer[PATCHES]
    for i in range(rows):
        for h in range(layer[PLACES_H]):
            for w in range(layer[PLACES_W]):
                corner = source + WIDTH * ((i * high + h * layer[STEP_H]) * run + w * step)
                for k in range(layer[KERNEL_H]):
                    copy_run(into, corner + WIDTH * k * run, length)
                    into += WIDTH * length


@compiled
def join_patches(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """The gradient by a convolution's input: each patch's gradient added where the patch was cut."""
    channels = layer[CHANNELS]
    high, run = layer[HIGH] + 2 * layer[PAD_H], (layer[ACROSS] + 2 * layer[PAD_W]) * channels
    begin = micro * (layer[PADDED] if layer[PADDED] >= 0 else layer[SLOPE_FROM])
    space[begin : begin + rows * high * run] = _NONE
    target = space.ctypes.data + WIDTH * begin
    length, step = layer[KERNEL_W] * channels, layer[STEP_W] * channels
    source = space.ctypes.data + WIDTH * micro * layer[PATCH_SLOPES]
    for i in range(rows):
        for h in range(layer[PLACES_H]):
            for w in range(layer[PLACES_W]):
                corner = target + WIDTH * ((i * high + h * layer[STEP_H]) * run + w * step)
                for k in range(layer[KERNEL_H]):
                    add_run(corner + WIDTH * k * run, source, length)
                    source += WIDTH * length
    if layer[PADDED] >= 0:
        _unpad(layer, rows, space, micro)


@compiled
def pool(layer, rows, space, micro, picked):  # type: ignore[no-untyped-def]
    """The largest of each window, the first of equals, and where it was; NaN is larger than any number."""
    channels, across, size = layer[CHANNELS], layer[ACROSS], layer[IN]
    line = layer[PLACES_W] * channels
    # A run is a whole line of the output where windows move by one pixel: long enough to be worked on as vectors.
    runs, run = (1, line) if layer[STEP_W] == 1 else (layer[PLACES_W], channels)
    x = space[micro * layer[FROM] : micro * layer[FROM] + rows * size]
    y = space[micro * layer[TO] : micro * layer[TO] + rows * layer[OUT]]
    where = picked[micro * layer[PICKED] : micro * layer[PICKED] + rows * layer[OUT]]
    at = 0
    for i in range(rows):
        for h in range(layer[PLACES_H]):
            for w in range(runs):
                corner = (h * layer[STEP_H] * across + w * layer[STEP_W]) * channels
                best, place = y[at : at + run], where[at : at + run]
                first = x[i * size + corner : i * size + corner + run]
                for c in range(run):
                    best[c] = first[c]
                    place[c] = np.int32(corner + c)
                for window in range(1, layer[KERNEL_H] * layer[KERNEL_W]):
                    offset = corner + (window // layer[KERNEL_W] * across + window % layer[KERNEL_W]) * channels
                    other = x[i * size + offset : i * size + offset + run]
                    for c in range(run):
                        new, old, held = other[c], best[c], place[c]
                        larger = (new > old) | (new != new)  # no branch, which half of the time would be guessed wrong
                        best[c] = new if larger else old
                        place[c] = np.int32(offset + c) if larger else held
                at += run


@compiled
def pool_back(layer, rows, space, micro, picked):  # type: ignore[no-untyped-def]
    """The gradient goes where the largest was."""
    size, out = layer[IN], layer[OUT]
    g, where = space[micro * layer[SLOPE_TO] :], picked[micro * layer[PICKED] :]
    back = space[micro * layer[SLOPE_FROM] : micro * layer[SLOPE_FROM] + rows * size]
    back[:] = _NONE
    for i in range(rows):
        for j in range(out):
            back[i * size + where[i * out + j]] += g[i * out + j]


@compiled
def turn(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """An image's channels first."""
    places, channels = layer[HIGH] * layer[ACROSS], layer[CHANNELS]
    x, y = space[micro * layer[FROM] :], space[micro * layer[TO] :]
    for i in range(rows):
        for c in range(channels):
            for p in range(places):
                y[(i * channels + c) * places + p] = x[(i * places + p) * channels + c]


@compiled
def turn_back(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """The inverse of `turn`, of gradients."""
    places, channels = layer[HIGH] * layer[ACROSS], layer[CHANNELS]
    back, g = space[micro * layer[SLOPE_FROM] :], space[micro * layer[SLOPE_TO] :]
    for i in range(rows):
        for c in range(channels):
            for p in range(places):
                back[(i * places + p) * channels + c] = g[(i * channels + c) * places + p]


@compiled
def activate(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """ReLU or tanh, in place."""
    y = space[micro * layer[TO] : micro * layer[TO] + rows * layer[OUT]]
    if layer[KIND] == TANH:
        for i in range(len(y)):
            y[i] = np.tanh(y[i])
    else:
        for i in range(len(y)):
            y[i] = _NONE if y[i] <= _NONE else y[i]  # NaN stays


@compiled
def activate_back(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """The gradient times the slope, which is read off the output; in place."""
    y = space[micro * layer[TO] : micro * layer[TO] + rows * layer[OUT]]
    g = space[micro * layer[SLOPE_TO] : micro * layer[SLOPE_TO] + rows * layer[OUT]]
    if layer[KIND] == TANH:
        for i in range(len(y)):
            g[i] *= _ONE - y[i] * y[i]
    else:
        for i in range(len(y)):
            g[i] = _NONE if y[i] <= _NONE else g[i]


@compiled
def loss_gradient(logits, labels, rows):  # type: ignore[no-untyped-def]
    """Logits `[n, classes]` become the gradient of each row's cross-entropy by them: softmax less one-hot.

    Args:
        logits: changed.
        labels: of all rows of the table.
        rows: which row of the table each of the n is.
    """
    for i in range(len(logits)):
        line, most = logits[i], logits[i, 0]
        for j in range(1, len(line)):
            most = line[j] if line[j] > most else most
        total = _NONE
        for j in range(len(line)):
            line[j] = np.exp(line[j] - most)
            total += line[j]
        for j in range(len(line)):
            line[j] /= total
        line[labels[rows[i]]] -= _ONE
