"""Compiled forward and backward passes of each layer, on one client's rows.

A layer is a row of integers (see `layer_table.py`). Its activations and their gradients are stored in one flat array,
`space`, each in a region `[rows, numbers]`. Images are stored channels last, so that a convolution is a dense layer on
patches (im2col, Chellapilla et al. 2006). Activations work in place.
"""

import numpy as np

from accord.engines.compiled.layer_table import (
    ARGMAX,
    BIAS,
    CHANNELS,
    DENSE,
    FROM,
    GRAD_FROM,
    GRAD_TO,
    IN,
    IN_FEATURES,
    IN_HEIGHT,
    IN_WIDTH,
    KERNEL_H,
    KERNEL_W,
    KIND,
    OUT,
    OUT_FEATURES,
    OUT_FIRST,
    OUT_HEIGHT,
    OUT_WIDTH,
    PAD_H,
    PAD_W,
    PADDED,
    PATCH_GRADS,
    PATCHES,
    POSITIONS,
    STRIDE_H,
    STRIDE_W,
    TANH,
    TO,
    WEIGHT,
)
from accord.engines.compiled.products import FLOAT32_BYTES, PLAIN, TRANSPOSED, Matrix, compiled, multiply
from accord.engines.compiled.vector_copy import add_run, copy_run

_F32_ONE, _F32_ZERO = np.float32(1), np.float32(0)


@compiled
def dense(layer, rows, params, space, micro, arguments):  # type: ignore[no-untyped-def]
    """Computes y = x W + b for `rows` rows, or for their patches in a convolution."""
    in_features, out_features, rows = layer[IN_FEATURES], layer[OUT_FEATURES], rows * layer[POSITIONS]
    source = layer[FROM] if layer[KIND] == DENSE else layer[PATCHES]
    y = space[micro * layer[TO] : micro * layer[TO] + rows * out_features].reshape((rows, out_features))
    beta = _F32_ZERO
    if layer[BIAS] >= 0:  # y is set to the bias first, and beta = 1 adds the product to it
        bias, beta = params[layer[BIAS] : layer[BIAS] + out_features], _F32_ONE
        for i in range(rows):
            for j in range(out_features):
                y[i, j] = bias[j]
    w, x = params.ctypes.data + FLOAT32_BYTES * layer[WEIGHT], space.ctypes.data + FLOAT32_BYTES * micro * source
    # BLAS is column-major, so it sees row-major memory as the transpose. The product asked for is y^T = W^T x^T.
    operation, stride = (TRANSPOSED, in_features) if layer[OUT_FIRST] else (PLAIN, out_features)
    weight, patches = Matrix(w, stride, operation), Matrix(x, in_features, PLAIN)
    multiply(
        weight,
        patches,
        Matrix(y.ctypes.data, out_features, PLAIN),
        (out_features, rows, in_features),
        _F32_ONE,
        beta,
        arguments,
    )


@compiled
def dense_back(layer, rows, params, space, micro, arguments):  # type: ignore[no-untyped-def]
    """Computes g W^T, the gradient by a dense layer's input or by a convolution's patches."""
    in_features, out_features, rows = layer[IN_FEATURES], layer[OUT_FEATURES], rows * layer[POSITIONS]
    into = layer[GRAD_FROM] if layer[KIND] == DENSE else layer[PATCH_GRADS]
    w, g = (
        params.ctypes.data + FLOAT32_BYTES * layer[WEIGHT],
        space.ctypes.data + FLOAT32_BYTES * micro * layer[GRAD_TO],
    )
    back = space.ctypes.data + FLOAT32_BYTES * micro * into
    operation, stride = (PLAIN, in_features) if layer[OUT_FIRST] else (TRANSPOSED, out_features)
    weight, grads = Matrix(w, stride, operation), Matrix(g, out_features, PLAIN)
    # With beta = 0 BLAS overwrites, so old contents of the region, even NaN, do no harm.
    multiply(
        weight,
        grads,
        Matrix(back, in_features, PLAIN),
        (in_features, rows, out_features),
        _F32_ONE,
        _F32_ZERO,
        arguments,
    )


@compiled
def add_gradient(layer, span, alpha, space, micro, weight, bias, beta, arguments):  # type: ignore[no-untyped-def]
    """Adds `alpha` times the gradient by weight and bias, summed over rows, to `weight` and `bias`.

    Args:
        layer: a dense layer or a convolution.
        span: the first row, and the number of rows.
        alpha: factor.
        space: activations and their gradients.
        micro: rows that regions have room for.
        weight: address of `[IN_FEATURES, OUT_FEATURES]`, or `[OUT_FEATURES, IN_FEATURES]` where `OUT_FIRST`.
        bias: array that begins with the bias, `[OUT_FEATURES]`. Used where the layer has one.
        beta: 1 adds to the weight, 0 overwrites it. The bias is always added to.
        arguments: scratch of BLAS.
    """
    first, rows = span
    in_features, out_features, positions = layer[IN_FEATURES], layer[OUT_FEATURES], layer[POSITIONS]
    source = layer[FROM] if layer[KIND] == DENSE else layer[PATCHES]
    x = space.ctypes.data + FLOAT32_BYTES * (micro * source + first * positions * in_features)
    start, num_rows = micro * layer[GRAD_TO] + first * positions * out_features, rows * positions
    g = space.ctypes.data + FLOAT32_BYTES * start
    # BLAS is column-major. A row-major weight [in, out] has gradient g^T x in its terms, and [out, in] has x^T g.
    if layer[OUT_FIRST]:
        inputs, grads = Matrix(x, in_features, PLAIN), Matrix(g, out_features, TRANSPOSED)
        multiply(
            inputs,
            grads,
            Matrix(weight, in_features, PLAIN),
            (in_features, out_features, num_rows),
            alpha,
            beta,
            arguments,
        )
    else:
        grads, inputs = Matrix(g, out_features, PLAIN), Matrix(x, in_features, TRANSPOSED)
        multiply(
            grads,
            inputs,
            Matrix(weight, out_features, PLAIN),
            (out_features, in_features, num_rows),
            alpha,
            beta,
            arguments,
        )
    if layer[BIAS] >= 0:
        grad_rows = space[start : start + num_rows * out_features].reshape((num_rows, out_features))
        for i in range(num_rows):
            for j in range(out_features):
                bias[j] += alpha * grad_rows[i, j]


@compiled
def _pad(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """The address of a convolution's input, or of a padded copy of it where the convolution pads."""
    if layer[PADDED] < 0:
        return space.ctypes.data + FLOAT32_BYTES * micro * layer[FROM]
    height, run = layer[IN_HEIGHT], layer[IN_WIDTH] * layer[CHANNELS]
    padded_height, padded_run = height + 2 * layer[PAD_H], run + 2 * layer[PAD_W] * layer[CHANNELS]
    begin = micro * layer[PADDED]
    # Zero the whole region, and then copy the image's lines into its middle. `fold_patches` overwrites it in backward.
    space[begin : begin + rows * padded_height * padded_run] = _F32_ZERO
    source = space.ctypes.data + FLOAT32_BYTES * micro * layer[FROM]
    into = space.ctypes.data + FLOAT32_BYTES * (begin + layer[PAD_H] * padded_run + layer[PAD_W] * layer[CHANNELS])
    for i in range(rows):
        for h in range(height):
            copy_run(
                into + FLOAT32_BYTES * (i * padded_height + h) * padded_run,
                source + FLOAT32_BYTES * (i * height + h) * run,
                run,
            )
    return space.ctypes.data + FLOAT32_BYTES * begin


@compiled
def _unpad(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """Copies the gradient by a convolution's input out of the gradient by its padded input."""
    height, run = layer[IN_HEIGHT], layer[IN_WIDTH] * layer[CHANNELS]
    padded_height, padded_run = height + 2 * layer[PAD_H], run + 2 * layer[PAD_W] * layer[CHANNELS]
    into = space.ctypes.data + FLOAT32_BYTES * micro * layer[GRAD_FROM]
    begin = micro * layer[PADDED] + layer[PAD_H] * padded_run + layer[PAD_W] * layer[CHANNELS]
    source = space.ctypes.data + FLOAT32_BYTES * begin
    for i in range(rows):
        for h in range(height):
            copy_run(
                into + FLOAT32_BYTES * (i * height + h) * run,
                source + FLOAT32_BYTES * (i * padded_height + h) * padded_run,
                run,
            )


@compiled
def unfold_patches(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """Writes a convolution's patches, each in the order kernel rows, kernel columns, channels."""
    source, channels = _pad(layer, rows, space, micro), layer[CHANNELS]
    height, run = layer[IN_HEIGHT] + 2 * layer[PAD_H], (layer[IN_WIDTH] + 2 * layer[PAD_W]) * channels
    # Channels last makes a row of the kernel contiguous in the image, so that a patch is KERNEL_H runs.
    length, step = layer[KERNEL_W] * channels, layer[STRIDE_W] * channels
    into = space.ctypes.data + FLOAT32_BYTES * micro * layer[PATCHES]
    for i in range(rows):
        for h in range(layer[OUT_HEIGHT]):
            for w in range(layer[OUT_WIDTH]):
                corner = source + FLOAT32_BYTES * ((i * height + h * layer[STRIDE_H]) * run + w * step)
                for k in range(layer[KERNEL_H]):
                    copy_run(into, corner + FLOAT32_BYTES * k * run, length)
                    into += FLOAT32_BYTES * length


@compiled
def fold_patches(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """Computes the gradient by a convolution's input, adding each patch's gradient where the patch was cut."""
    channels = layer[CHANNELS]
    height, run = layer[IN_HEIGHT] + 2 * layer[PAD_H], (layer[IN_WIDTH] + 2 * layer[PAD_W]) * channels
    begin = micro * (layer[PADDED] if layer[PADDED] >= 0 else layer[GRAD_FROM])
    # Patches overlap, so their gradients are added and the region must begin at zero.
    space[begin : begin + rows * height * run] = _F32_ZERO
    target = space.ctypes.data + FLOAT32_BYTES * begin
    length, step = layer[KERNEL_W] * channels, layer[STRIDE_W] * channels
    source = space.ctypes.data + FLOAT32_BYTES * micro * layer[PATCH_GRADS]
    for i in range(rows):
        for h in range(layer[OUT_HEIGHT]):
            for w in range(layer[OUT_WIDTH]):
                corner = target + FLOAT32_BYTES * ((i * height + h * layer[STRIDE_H]) * run + w * step)
                for k in range(layer[KERNEL_H]):
                    add_run(corner + FLOAT32_BYTES * k * run, source, length)
                    source += FLOAT32_BYTES * length
    if layer[PADDED] >= 0:
        _unpad(layer, rows, space, micro)


@compiled
def pool(layer, rows, space, micro, argmax):  # type: ignore[no-untyped-def]
    """Takes the largest number of each window and notes its place.

    Of equal numbers the first is taken. NaN counts as larger than any number, as in PyTorch.
    """
    channels, width, size = layer[CHANNELS], layer[IN_WIDTH], layer[IN]
    line = layer[OUT_WIDTH] * channels
    # Work on runs long enough to be vectors. Where windows move by one pixel, a whole line of the output is one run.
    runs, run = (1, line) if layer[STRIDE_W] == 1 else (layer[OUT_WIDTH], channels)
    x = space[micro * layer[FROM] : micro * layer[FROM] + rows * size]
    y = space[micro * layer[TO] : micro * layer[TO] + rows * layer[OUT]]
    where = argmax[micro * layer[ARGMAX] : micro * layer[ARGMAX] + rows * layer[OUT]]
    at = 0
    for i in range(rows):
        for h in range(layer[OUT_HEIGHT]):
            for w in range(runs):
                corner = (h * layer[STRIDE_H] * width + w * layer[STRIDE_W]) * channels
                best, index = y[at : at + run], where[at : at + run]
                first = x[i * size + corner : i * size + corner + run]
                for c in range(run):
                    best[c] = first[c]
                    index[c] = np.int32(corner + c)
                # The window's first pixel is taken already. A later one replaces it if strictly larger, or NaN.
                for window in range(1, layer[KERNEL_H] * layer[KERNEL_W]):
                    offset = corner + (window // layer[KERNEL_W] * width + window % layer[KERNEL_W]) * channels
                    other = x[i * size + offset : i * size + offset + run]
                    for c in range(run):
                        new, old, current = other[c], best[c], index[c]
                        larger = (new > old) | (new != new)  # no branch, since it would be mispredicted half the time
                        best[c] = new if larger else old
                        index[c] = np.int32(offset + c) if larger else current
                at += run


@compiled
def pool_back(layer, rows, space, micro, argmax):  # type: ignore[no-untyped-def]
    """Adds each output's gradient where the window's largest number was."""
    size, out = layer[IN], layer[OUT]
    g, where = space[micro * layer[GRAD_TO] :], argmax[micro * layer[ARGMAX] :]
    back = space[micro * layer[GRAD_FROM] : micro * layer[GRAD_FROM] + rows * size]
    back[:] = _F32_ZERO
    for i in range(rows):
        for j in range(out):
            # Added, since overlapping windows may have the same largest pixel.
            back[i * size + where[i * out + j]] += g[i * out + j]


@compiled
def to_channels_first(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """Turns an image from channels last to channels first."""
    positions, channels = layer[IN_HEIGHT] * layer[IN_WIDTH], layer[CHANNELS]
    x, y = space[micro * layer[FROM] :], space[micro * layer[TO] :]
    for i in range(rows):
        for c in range(channels):
            for p in range(positions):
                y[(i * channels + c) * positions + p] = x[(i * positions + p) * channels + c]


@compiled
def to_channels_first_back(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """The inverse of `to_channels_first`, of gradients."""
    positions, channels = layer[IN_HEIGHT] * layer[IN_WIDTH], layer[CHANNELS]
    back, g = space[micro * layer[GRAD_FROM] :], space[micro * layer[GRAD_TO] :]
    for i in range(rows):
        for c in range(channels):
            for p in range(positions):
                back[(i * positions + p) * channels + c] = g[(i * channels + c) * positions + p]


@compiled
def activate(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """Applies ReLU or tanh in place."""
    y = space[micro * layer[TO] : micro * layer[TO] + rows * layer[OUT]]
    if layer[KIND] == TANH:
        for i in range(len(y)):
            y[i] = np.tanh(y[i])
    else:
        for i in range(len(y)):
            y[i] = _F32_ZERO if y[i] <= _F32_ZERO else y[i]  # NaN stays NaN, since the comparison is false


@compiled
def activate_back(layer, rows, space, micro):  # type: ignore[no-untyped-def]
    """Multiplies the gradient by the slope, in place. The slope is computed from the output."""
    y = space[micro * layer[TO] : micro * layer[TO] + rows * layer[OUT]]
    g = space[micro * layer[GRAD_TO] : micro * layer[GRAD_TO] + rows * layer[OUT]]
    if layer[KIND] == TANH:
        for i in range(len(y)):
            g[i] *= _F32_ONE - y[i] * y[i]
    else:
        for i in range(len(y)):
            g[i] = _F32_ZERO if y[i] <= _F32_ZERO else g[i]


@compiled
def loss_gradient(logits, labels, rows):  # type: ignore[no-untyped-def]
    """Replaces logits `[n, classes]` by the gradient of each row's cross-entropy, softmax minus one-hot.

    Args:
        logits: changed.
        labels: labels of all rows of the table.
        rows: table row of each of the n rows.
    """
    # The largest logit is subtracted first, so that exp cannot overflow. The division by the number of rows, for the
    # mean, is part of the step size.
    for i in range(len(logits)):
        line, most = logits[i], logits[i, 0]
        for j in range(1, len(line)):
            most = line[j] if line[j] > most else most
        total = _F32_ZERO
        for j in range(len(line)):
            line[j] = np.exp(line[j] - most)
            total += line[j]
        for j in range(len(line)):
            line[j] /= total
        line[labels[rows[i]]] -= _F32_ONE
