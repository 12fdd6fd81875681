"""Layers one at a time, against PyTorch's."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from accord.engines.compiled import layer_table as at
from accord.engines.compiled import layers
from accord.engines.compiled.products import blas_arguments, compiled

Numbers = NDArray[np.float32]
ROWS, MICRO = 3, 4


def row(**columns: int) -> NDArray[np.int64]:
    found = np.full(at.COLUMNS, -1, dtype=np.int64)
    for name, value in columns.items():
        found[getattr(at, name.upper())] = value
    return found


def window(high: int, across: int, channels: int, kernel: int, step: int, pad: int) -> dict[str, int]:
    down, along = ((size + 2 * pad - kernel) // step + 1 for size in (high, across))
    return {
        "in_height": high, "in_width": across, "channels": channels, "kernel_h": kernel, "kernel_w": kernel,
        "stride_h": step, "stride_w": step, "pad_h": pad, "pad_w": pad, "out_height": down, "out_width": along,
    }  # fmt: skip


@compiled
def activation(layer, rows, space, micro, back):  # type: ignore[no-untyped-def]
    if back:
        layers.activate_back(layer, rows, space, micro)
    else:
        layers.activate(layer, rows, space, micro)


@compiled
def patches(layer, rows, space, micro, back):  # type: ignore[no-untyped-def]
    if back:
        layers.fold_patches(layer, rows, space, micro)
    else:
        layers.unfold_patches(layer, rows, space, micro)


@compiled
def pooling(layer, rows, space, micro, argmax, back):  # type: ignore[no-untyped-def]
    if back:
        layers.pool_back(layer, rows, space, micro, argmax)
    else:
        layers.pool(layer, rows, space, micro, argmax)


def region(space: Numbers, begin: int, size: int) -> Numbers:
    return space[MICRO * begin : MICRO * begin + ROWS * size].reshape(ROWS, size)


@pytest.mark.parametrize(("kernel", "step"), [(2, 1), (2, 2), (3, 2)])
def test_pooling_takes_the_first_of_equals_and_any_nan(kernel: int, step: int) -> None:
    high, across, channels = 6, 5, 3
    shape = window(high, across, channels, kernel, step, 0)
    size, out = high * across * channels, shape["out_height"] * shape["out_width"] * channels
    layer = row(**shape, **{"in": size}, out=out, to=size, grad_to=size + out, grad_from=size + 2 * out, argmax=0,
                **{"from": 0})  # fmt: skip
    # What a layer does not write itself, it must not read: NaN would spread.
    space, argmax = np.full(MICRO * (2 * size + 2 * out), np.nan, np.float32), np.zeros(MICRO * out, np.int32)
    images = np.random.default_rng(0).integers(0, 3, (ROWS, high, across, channels)).astype(np.float32)  # many ties
    images[1, 2, 2, 0] = np.nan
    region(space, 0, size)[:] = images.reshape(ROWS, -1)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().requires_grad_()
    y = F.max_pool2d(x, kernel, step)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    torch.autograd.backward(y, g)
    pooling(layer, ROWS, space, MICRO, argmax, False)
    np.testing.assert_array_equal(region(space, size, out), y.detach().permute(0, 2, 3, 1).reshape(ROWS, -1))
    region(space, size + out, out)[:] = g.permute(0, 2, 3, 1).reshape(ROWS, -1)
    pooling(layer, ROWS, space, MICRO, argmax, True)
    assert x.grad is not None
    expected = x.grad.permute(0, 2, 3, 1).reshape(ROWS, -1).numpy()
    np.testing.assert_allclose(region(space, size + 2 * out, size), expected, atol=1e-6)


@pytest.mark.parametrize("pad", [0, 2])
@pytest.mark.parametrize(("kernel", "step"), [(3, 1), (4, 3), (1, 2)])
def test_patches_are_unfolded_and_folded(kernel: int, step: int, pad: int) -> None:
    high, across, channels = 7, 6, 2
    shape = window(high, across, channels, kernel, step, pad)
    size, places = high * across * channels, shape["out_height"] * shape["out_width"]
    depth = kernel * kernel * channels
    padded = (high + 2 * pad) * (across + 2 * pad) * channels
    layer = row(**shape, **{"in": size, "from": 0}, in_features=depth, positions=places, patches=size,
                patch_grads=size + places * depth, grad_from=size + 2 * places * depth,
                padded=2 * size + 2 * places * depth if pad else -1)  # fmt: skip
    end = MICRO * (2 * size + 2 * places * depth + padded)
    space = np.full(end + 50, np.nan, np.float32)
    images = torch.randn(ROWS, channels, high, across, generator=torch.Generator().manual_seed(1))
    region(space, 0, size)[:] = images.permute(0, 2, 3, 1).reshape(ROWS, -1)
    patches(layer, ROWS, space, MICRO, False)

    def ours(unfolded: torch.Tensor) -> Numbers:
        """From channels, kernel; places to places; kernel, channels."""
        cut = unfolded.view(ROWS, channels, kernel * kernel, places).permute(0, 3, 2, 1)
        found: Numbers = cut.reshape(ROWS, -1).numpy()
        return found

    unfolded = F.unfold(images, kernel, padding=pad, stride=step)
    np.testing.assert_array_equal(region(space, size, places * depth), ours(unfolded))
    slopes = torch.randn(unfolded.shape, generator=torch.Generator().manual_seed(2))
    region(space, size + places * depth, places * depth)[:] = ours(slopes)
    patches(layer, ROWS, space, MICRO, True)
    folded = F.fold(slopes, (high, across), kernel, padding=pad, stride=step).permute(0, 2, 3, 1).reshape(ROWS, -1)
    np.testing.assert_allclose(region(space, size + 2 * places * depth, size), folded, atol=1e-5)
    assert np.isnan(space[end:]).all()  # nothing is written past the last region


@pytest.mark.parametrize(("kind", "function"), [(at.RELU, torch.relu), (at.TANH, torch.tanh)])
def test_activations_and_their_slopes(kind: int, function: torch.nn.Module) -> None:
    layer = row(kind=kind, out=9, to=0, grad_to=9)
    space = np.zeros(MICRO * 18, np.float32)
    x = torch.randn(ROWS, 9, generator=torch.Generator().manual_seed(3))
    x[0, 0], x[1, 1] = 0.0, float("nan")
    x.requires_grad_()
    y = function(x)
    torch.autograd.backward(y, torch.ones_like(y))
    region(space, 0, 9)[:], region(space, 9, 9)[:] = x.detach(), 1.0
    activation(layer, ROWS, space, MICRO, False)
    np.testing.assert_allclose(region(space, 0, 9), y.detach(), rtol=1e-6)
    activation(layer, ROWS, space, MICRO, True)
    assert x.grad is not None
    np.testing.assert_allclose(region(space, 9, 9), x.grad, rtol=1e-5)


def test_the_gradient_of_the_loss() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(4)) * 30
    logits.requires_grad_()
    labels, rows = np.array([3, 0, 1, 2, 1, 0]), np.array([5, 0, 2, 3, 3])
    torch.autograd.backward(F.cross_entropy(logits, torch.from_numpy(labels[rows]), reduction="sum"))
    found = logits.detach().numpy().copy()
    layers.loss_gradient(found, labels, rows)
    assert logits.grad is not None
    np.testing.assert_allclose(found, logits.grad, atol=1e-6)


@compiled
def affine(layer, rows, params, space, micro, back):  # type: ignore[no-untyped-def]
    if back:
        layers.dense_back(layer, rows, params, space, micro, blas_arguments())
    else:
        layers.dense(layer, rows, params, space, micro, blas_arguments())


@compiled
def gradient(layer, span, alpha, space, micro, weight, bias, beta):  # type: ignore[no-untyped-def]
    layers.add_gradient(layer, span, alpha, space, micro, weight.ctypes.data, bias, beta, blas_arguments())


@pytest.mark.parametrize("out_first", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kind", "places"), [(at.DENSE, 1), (at.CONVOLUTION, 3)])
def test_products_with_weights_are_numpys_and_write_their_own_regions_alone(
    kind: int, places: int, bias: bool, out_first: int
) -> None:
    """Everything that is neither input nor output is NaN before and after."""
    depth, wide, n = 5, 4, ROWS * places
    x_at, y_at, g_at, back_at = np.cumsum([2, places * depth, places * wide, places * wide]).tolist()
    begins = {"from": x_at, "grad_from": back_at}
    if kind == at.CONVOLUTION:
        begins = {"from": 0, "grad_from": 0, "patches": x_at, "patch_grads": back_at}
    layer = row(kind=kind, in_features=depth, out_features=wide, positions=places, out_first=out_first, weight=3,
                bias=3 + depth * wide if bias else -1, to=y_at, grad_to=g_at, **begins)  # fmt: skip
    rng = np.random.default_rng(places)
    x, w, b, g = (rng.normal(size=size).astype(np.float32) for size in ((n, depth), (depth, wide), wide, (n, wide)))
    params = np.full(3 + depth * wide + wide + 1, np.nan, np.float32)
    params[3 : 3 + depth * wide] = (w.T if out_first else w).reshape(-1)
    params[3 + depth * wide : -1] = b
    space = np.full(MICRO * (back_at + places * depth), np.nan, np.float32)
    space[MICRO * x_at : MICRO * x_at + n * depth] = x.reshape(-1)
    space[MICRO * g_at : MICRO * g_at + n * wide] = g.reshape(-1)
    expected = space.copy()
    expected[MICRO * y_at : MICRO * y_at + n * wide] = (x @ w + b * bias).reshape(-1)
    affine(layer, ROWS, params, space, MICRO, False)
    np.testing.assert_allclose(space, expected, rtol=1e-5, atol=1e-6)
    expected[MICRO * back_at : MICRO * back_at + n * depth] = (g @ w.T).reshape(-1)
    affine(layer, ROWS, params, space, MICRO, True)
    np.testing.assert_allclose(space, expected, rtol=1e-5, atol=1e-6)
    for first, count, alpha, beta in ((0, ROWS, -0.5, 1.0), (1, 1, 2.0, 0.0)):
        mine = slice(first * places, (first + count) * places)
        by_weight = alpha * x[mine].T @ g[mine]
        weight, slopes = np.full((wide, depth) if out_first else (depth, wide), 3, np.float32), np.ones(6, np.float32)
        gradient(layer, (first, count), np.float32(alpha), space, MICRO, weight, slopes, np.float32(beta))
        wanted = 3 * beta + (by_weight.T if out_first else by_weight)
        np.testing.assert_allclose(weight, wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(slopes[:wide], 1 + alpha * g[mine].sum(0) * bias, rtol=1e-5, atol=1e-5)
        assert slopes[wide:].tolist() == [1, 1]


@compiled
def turn(layer, rows, space, micro, back):  # type: ignore[no-untyped-def]
    if back:
        layers.to_channels_first_back(layer, rows, space, micro)
    else:
        layers.to_channels_first(layer, rows, space, micro)


def test_images_are_turned_channels_first_and_back() -> None:
    high, across, channels = 2, 3, 4
    size = high * across * channels
    layer = row(in_height=high, in_width=across, channels=channels, to=size, grad_to=2 * size, grad_from=3 * size,
                **{"from": 0})  # fmt: skip
    images, slopes = np.random.default_rng(0).normal(size=(2, ROWS, high, across, channels)).astype(np.float32)
    space = np.full(MICRO * 4 * size, np.nan, np.float32)
    region(space, 0, size)[:] = images.reshape(ROWS, -1)
    region(space, 2 * size, size)[:] = slopes.transpose(0, 3, 1, 2).reshape(ROWS, -1)
    expected = space.copy()
    region(expected, size, size)[:] = images.transpose(0, 3, 1, 2).reshape(ROWS, -1)
    region(expected, 3 * size, size)[:] = slopes.reshape(ROWS, -1)
    turn(layer, ROWS, space, MICRO, False)
    turn(layer, ROWS, space, MICRO, True)
    np.testing.assert_array_equal(space, expected)
