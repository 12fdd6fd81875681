"""Layers one at a time, against PyTorch's."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from accord.engines.compiled import layer_table as at
from accord.engines.compiled import layers
from accord.engines.compiled.products import compiled

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
    space, argmax = np.zeros(MICRO * (2 * size + 2 * out), np.float32), np.zeros(MICRO * out, np.int32)
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
    space = np.zeros(MICRO * (2 * size + 2 * places * depth + padded), np.float32)
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
