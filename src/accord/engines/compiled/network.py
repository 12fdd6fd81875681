"""Prepares a network for compiled training, with its layers as integers and its parameters as one flat tensor.

The plain version of this computation is `program.local.step`. The tests compare the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.core.params import Params
from accord.engines.compiled import layer_table as at
from accord.engines.stacked.layer_gradients import Stack
from accord.engines.stacked.layers import Activation, Convolution, Dense, Flatten, Layer, MaxPool
from accord.engines.stacked.network import StackedNetwork

Integers = NDArray[np.int64]

FLAT = "parameters"
"""The only name in a flat stack."""
_FEW_OUTPUTS = 64
"""Dense layers with fewer outputs store weights as `[out, in]`, so that products run along the inputs."""
_DIRECT_MULTIPLICATIONS = 1_000_000
"""Multiplications of one convolution, over all rows worked on at once, that BLAS does without copying."""
_MOST_ACTIVATIONS = 2**22
"""Most numbers of activations in memory at once (16 MB)."""
_IN_CACHE = 2**17
"""Most parameters of a network with convolutions. Each piece of a batch passes over the whole sum of gradients."""


@dataclass(frozen=True)
class CompiledNetwork:
    """What compiled training reads of a network.

    Attributes:
        layers: `[layers, COLUMNS]`, with the columns of `layer_table`.
        image: channels and pixels of the input where it is processed channels last. Otherwise 1 and its length.
        sizes: numbers that a row takes in the activations and gradients, and in the places that pools note.
        micro: rows worked on at once.
        shapes: parameter name to its own shape, in the model's order.
        begins: parameter name to its first place in the flat tensor.
        order: parameter name to the order of its axes in the flat tensor.
    """

    layers: Integers
    image: Integers
    sizes: Integers
    micro: int
    shapes: Mapping[str, tuple[int, ...]]
    begins: Mapping[str, int]
    order: Mapping[str, tuple[int, ...]]

    @property
    def numbers(self) -> int:
        """Parameters of one client."""
        return sum(torch.Size(shape).numel() for shape in self.shapes.values())

    def enter(self, params: Mapping[str, Tensor]) -> Stack:
        """Copies parameters `[clients, *shape]` by name into a flat stack `[clients, numbers]`."""
        first = next(iter(params.values()))
        flat = torch.empty(len(first), self.numbers, dtype=first.dtype)
        for name, shape in self.shapes.items():
            order, begin = self.order[name], self.begins[name]
            permuted = params[name].detach().permute(0, *(1 + axis for axis in order))
            flat[:, begin : begin + torch.Size(shape).numel()] = permuted.reshape(len(first), -1)
        return {FLAT: flat}

    def leave(self, stack: Mapping[str, Tensor]) -> Params:
        """The inverse of `enter`, for any number of clients. Gives views `[clients, *shape]` by name."""
        flat, left = stack[FLAT], {}
        for name, shape in self.shapes.items():
            order, begin = self.order[name], self.begins[name]
            permuted = flat[:, begin : begin + torch.Size(shape).numel()].view(-1, *(shape[axis] for axis in order))
            back = [0] + [1 + position for position in np.argsort(order).tolist()]
            left[name] = permuted.permute(back)
        return left

    @cached_property
    def draws(self) -> tuple[Integers, Integers]:
        """Where each noise draw goes. Draws are in the order of a parameter's axes, with its first axis last.

        All engines use this order, so that they add the same noise to the same number.

        Returns:
            An array `[parameters, 3]` in the model's order, and an array of places. The columns of the first are where
            the parameter begins, its length, and where the places of its draws begin in the second array. The last
            column is -1 where draws have the same order as the parameter.
        """
        tensors, draw_indices, known = [], [np.empty(0, dtype=np.int64)], 0
        for name, shape in self.shapes.items():
            begin, count, order = self.begins[name], torch.Size(shape).numel(), self.order[name]
            # The parameter is stored in the order of the draws already, as large dense weights are.
            if order == (*range(1, len(shape)), 0):
                tensors.append([begin, count, -1])
                continue
            indices = np.arange(begin, begin + count).reshape([shape[axis] for axis in order])
            draw_indices.append(np.moveaxis(indices.transpose(np.argsort(order)), 0, -1).reshape(-1))
            tensors.append([begin, count, known])
            known += count
        return np.array(tensors, dtype=np.int64), np.concatenate(draw_indices)


@dataclass
class _Layout:
    """Regions and layers assigned so far, while the network is converted layer by layer."""

    by_sample: bool
    shape: tuple[int, ...]
    rows: list[Integers] = field(default_factory=list)
    order: dict[str, tuple[int, ...]] = field(default_factory=dict)
    space: int = 0
    argmax: int = 0
    products: int = 0

    def region(self, numbers: int) -> int:
        begin, self.space = self.space, self.space + numbers
        return begin

    def numbers(self) -> int:
        return int(np.prod(self.shape))


def compile_network(
    network: StackedNetwork, input_shape: tuple[int, ...], classes: int, *, by_sample: bool
) -> CompiledNetwork | None:
    """The compiled form of a stacked network. None where a layer has none, or where PyTorch is faster.

    The form exists for dense layers on vectors, convolutions, max-pooling, ReLU, tanh and flattening. Networks with
    convolutions may have up to 131,072 parameters.

    Args:
        network: the stacked form.
        input_shape: shape of one sample.
        classes: number of classes in the labels. Compiled code checks no bounds, so the network must have exactly this
            number of outputs.
        by_sample: whether gradients will be clipped by sample.
    """
    convolves = any(isinstance(layer, Convolution) for layer in network.layers)
    if convolves and network.numbers > _IN_CACHE:
        return None
    first = next((layer for layer in network.layers if not isinstance(layer, Activation)), None)
    image = len(input_shape) == 3 and isinstance(first, Convolution | MaxPool)
    # Shapes are channels last inside, but only where a layer works on images. Other inputs keep their own order.
    shape = (*input_shape[1:], input_shape[0]) if image else input_shape
    layout = _Layout(by_sample, shape)
    begins, begin = {}, 0
    for name, own in network.shapes.items():
        begins[name], begin = begin, begin + torch.Size(own).numel()
    x = layout.region(layout.numbers())
    g = layout.region(layout.numbers())
    for layer in network.layers:
        table_rows = _table_rows(layer, layout, network, begins, x, g)
        if table_rows is None:
            return None
        for row in table_rows:
            layout.rows.append(row)
            x, g = int(row[at.TO]), int(row[at.GRAD_TO])
    # Labels index the outputs without a bounds check, so there must be one output a class.
    if layout.shape != (classes,) or not any(row[at.WEIGHT] >= 0 for row in layout.rows):
        return None
    # Backward stops at the first layer with weights. Nothing before it needs a gradient.
    trains = [row[at.WEIGHT] >= 0 for row in layout.rows]
    for number, row in enumerate(layout.rows):
        row[at.NEEDS_INPUT_GRAD] = any(trains[:number])
    micro = _MOST_ACTIVATIONS // layout.space
    if convolves:
        # So few rows at once that BLAS multiplies without copying.
        micro = min(micro, _DIRECT_MULTIPLICATIONS // layout.products)
    channels = input_shape[0] if image else 1
    return CompiledNetwork(
        layers=np.stack(layout.rows),
        image=np.array([channels, int(np.prod(input_shape)) // channels], dtype=np.int64),
        sizes=np.array([layout.space, layout.argmax], dtype=np.int64),
        micro=max(1, micro),
        shapes=network.shapes,
        begins=begins,
        order={name: layout.order.get(name, tuple(range(len(own)))) for name, own in network.shapes.items()},
    )


def _table_rows(
    layer: Layer, layout: _Layout, network: StackedNetwork, begins: Mapping[str, int], x: int, g: int
) -> list[Integers] | None:
    """The table rows of a layer with input in region `x` and the gradient by it in `g`. None where it has no form."""
    row = np.full(at.COLUMNS, -1, dtype=np.int64)
    row[at.FROM], row[at.GRAD_FROM], row[at.IN] = x, g, layout.numbers()
    if isinstance(layer, Activation):
        row[at.KIND] = at.RELU if layer.apply is torch.relu_ else at.TANH
        # In place: the output takes the input's regions.
        row[at.TO], row[at.GRAD_TO], row[at.OUT] = x, g, layout.numbers()
        return [row]
    if isinstance(layer, Flatten):
        return _flatten(row, layout)
    if isinstance(layer, Dense) and layout.shape == network.shapes[layer.weight][1:]:
        out, in_features = network.shapes[layer.weight]
        few = out < _FEW_OUTPUTS
        layout.order[layer.weight] = (0, 1) if few else (1, 0)
        row[at.KIND], row[at.IN_FEATURES], row[at.OUT_FEATURES], row[at.POSITIONS] = at.DENSE, in_features, out, 1
        row[at.OUT_FIRST] = few
        _weights(row, layer.weight, layer.bias, begins)
        return _onward(row, layout, (out,))
    if isinstance(layer, Convolution) and layout.shape[2:] == layer.shape[1:2]:
        return _convolution(row, layer, layout, begins)
    if isinstance(layer, MaxPool) and len(layout.shape) == 3:
        out_size = _window(row, layout, layer.kernel, layer.stride, (0, 0))
        if min(out_size) < 1:
            return None
        row[at.KIND], row[at.ARGMAX] = at.POOL, layout.argmax
        table_rows = _onward(row, layout, (*out_size, layout.shape[2]))
        layout.argmax += layout.numbers()
        return table_rows
    return None


def _flatten(row: Integers, layout: _Layout) -> list[Integers]:
    """Notes the flat shape. A layer is needed only where several channels must be moved first."""
    # With one channel both orders are the same. Without an image layer before it, the input never became channels last.
    if len(layout.shape) == 3 and layout.shape[2] > 1 and layout.rows and _images(layout):
        height, width, channels = layout.shape
        row[at.KIND], row[at.IN_HEIGHT], row[at.IN_WIDTH], row[at.CHANNELS] = (
            at.TO_CHANNELS_FIRST,
            height,
            width,
            channels,
        )
        return _onward(row, layout, (layout.numbers(),))
    layout.shape = (layout.numbers(),)
    return []


def _images(layout: _Layout) -> bool:
    return any(row[at.KIND] in (at.CONVOLUTION, at.POOL) for row in layout.rows)


def _convolution(
    row: Integers, layer: Convolution, layout: _Layout, begins: Mapping[str, int]
) -> list[Integers] | None:
    """The table row of a convolution, with regions for its patches. None where the kernel exceeds the image."""
    out, channels, kernel_h, kernel_w = layer.shape
    out_size = _window(row, layout, (kernel_h, kernel_w), layer.stride, layer.padding)
    if min(out_size) < 1:
        return None
    in_features, positions = channels * kernel_h * kernel_w, out_size[0] * out_size[1]
    # Weights as kernel rows, kernel columns, channels, outputs, which is the order of `unfold_patches`.
    layout.order[layer.weight] = (2, 3, 1, 0)
    row[at.KIND], row[at.IN_FEATURES], row[at.OUT_FEATURES], row[at.POSITIONS] = (
        at.CONVOLUTION,
        in_features,
        out,
        positions,
    )
    row[at.OUT_FIRST] = 0
    _weights(row, layer.weight, layer.bias, begins)
    row[at.PATCHES] = layout.region(positions * in_features)
    # A gradient by the patches is needed only where an earlier layer trains.
    if any(earlier[at.WEIGHT] >= 0 for earlier in layout.rows):
        row[at.PATCH_GRADS] = layout.region(positions * in_features)
    if any(layer.padding):
        height, width, _ = layout.shape
        padded = (height + 2 * layer.padding[0]) * (width + 2 * layer.padding[1]) * channels
        row[at.PADDED] = layout.region(padded)
    if layout.by_sample:
        row[at.PER_SAMPLE_GRAD] = layout.region((in_features + 1) * out)  # weight and bias
    layout.products = max(layout.products, positions * in_features * out)
    return _onward(row, layout, (*out_size, out))


def _weights(row: Integers, weight: str, bias: str | None, begins: Mapping[str, int]) -> None:
    row[at.WEIGHT] = begins[weight]
    if bias is not None:
        row[at.BIAS] = begins[bias]


def _window(
    row: Integers, layout: _Layout, kernel: tuple[int, int], step: tuple[int, int], padding: tuple[int, int]
) -> tuple[int, int]:
    """Notes the input image and its sliding window, and returns the output image's height and width."""
    height, width, channels = layout.shape
    row[at.IN_HEIGHT], row[at.IN_WIDTH], row[at.CHANNELS] = height, width, channels
    row[at.KERNEL_H], row[at.KERNEL_W] = kernel
    row[at.STRIDE_H], row[at.STRIDE_W] = step
    row[at.PAD_H], row[at.PAD_W] = padding
    out_size = (
        (height + 2 * padding[0] - kernel[0]) // step[0] + 1,
        (width + 2 * padding[1] - kernel[1]) // step[1] + 1,
    )
    row[at.OUT_HEIGHT], row[at.OUT_WIDTH] = out_size
    return out_size


def _onward(row: Integers, layout: _Layout, shape: tuple[int, ...]) -> list[Integers]:
    """Assigns regions to a layer's output and its gradient, and returns the layer's row as a list."""
    layout.shape = shape
    row[at.OUT] = layout.numbers()
    row[at.TO], row[at.GRAD_TO] = layout.region(layout.numbers()), layout.region(layout.numbers())
    return [row]
