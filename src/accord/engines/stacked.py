"""Stacked kernels: the forward and backward pass of many clients' copies of one network at once, by hand.

A network of dense and convolutional layers with ReLU, Tanh, max pooling and flattening between them is run with
every tensor one dimension wider, clients first. Images are kept channels last, so that a convolution is a dense
layer on patches (im2col, Chellapilla et al. 2006): both kinds of layer then come down to one batched product for
the forward pass, one for the input's gradient and one for the weights'. Per-sample gradient norms come from the
same pieces, without per-sample gradients for dense layers (Goodfellow 2015, arXiv 1510.01799).

What this file computes, `program.local.step` under `vmap` computes too; the tests hold them together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Stack = dict[str, Tensor]
"""Parameters of several clients, each `[clients, ...]`; convolution weights as `[clients, out, kh * kw * in]`."""


@dataclass(frozen=True)
class Product:
    """A layer's part in the gradient: weight gradient `g^T a` and bias gradient `sum g`, over rows.

    Attributes:
        weight: name of the weight, stacked `[clients, out, in]`.
        bias: name of the bias, None where there is none.
        a: inputs, `[clients, batch * places, in]`.
        g: gradient of the loss by the outputs, `[clients, batch * places, out]`.
        places: rows a sample has: 1 for a dense layer, output pixels for a convolution.
    """

    weight: str
    bias: str | None
    a: Tensor
    g: Tensor
    places: int


class Layer(Protocol):
    """One layer: `x` and `y` are `[clients, batch, ...]`."""

    trains: ClassVar[bool]

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """y, and what `backward` needs."""
        ...

    def backward(
        self, stack: Stack, g: Tensor, kept: tuple[Tensor, ...], further: bool
    ) -> tuple[Tensor | None, Product | None]:
        """The gradient by x (None unless `further`), and the layer's product where it trains."""
        ...


def _affine(stack: Stack, weight: str, bias: str | None, a: Tensor) -> Tensor:
    w = stack[weight].transpose(1, 2)
    return torch.bmm(a, w) if bias is None else torch.baddbmm(stack[bias].unsqueeze(1), a, w)


@dataclass(frozen=True)
class Dense:
    """`nn.Linear`."""

    trains: ClassVar[bool] = True
    weight: str
    bias: str | None

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """y = x W^T + b."""
        return _affine(stack, self.weight, self.bias, x), (x,)

    def backward(
        self, stack: Stack, g: Tensor, kept: tuple[Tensor, ...], further: bool
    ) -> tuple[Tensor | None, Product | None]:
        """Gradient by x: g W."""
        back = torch.bmm(g, stack[self.weight]) if further else None
        return back, Product(self.weight, self.bias, kept[0], g, 1)


@dataclass(frozen=True)
class Convolution:
    """`nn.Conv2d` with zero padding, undilated and ungrouped, on images `[clients, batch, high, wide, channels]`."""

    trains: ClassVar[bool] = True
    weight: str
    bias: str | None
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A dense layer on patches."""
        (pad_h, pad_w), (kernel_h, kernel_w), (step_h, step_w) = self.padding, self.kernel, self.stride
        clients, batch = x.shape[:2]
        if pad_h or pad_w:
            x = F.pad(x, (0, 0, pad_w, pad_w, pad_h, pad_h))
        windows = x.unfold(2, kernel_h, step_h).unfold(3, kernel_w, step_w)  # [.., out_h, out_w, channels, kh, kw]
        high, wide = windows.shape[2:4]
        patches = windows.permute(0, 1, 2, 3, 5, 6, 4).reshape(clients, batch * high * wide, -1)
        y = _affine(stack, self.weight, self.bias, patches)
        return y.view(clients, batch, high, wide, -1), (patches, torch.tensor(x.shape))

    def backward(
        self, stack: Stack, g: Tensor, kept: tuple[Tensor, ...], further: bool
    ) -> tuple[Tensor | None, Product | None]:
        """Gradient by x: each patch's gradient put back where the patch was cut."""
        clients, batch, high, wide, out = g.shape
        rows = g.reshape(clients, batch * high * wide, out)
        product = Product(self.weight, self.bias, kept[0], rows, high * wide)
        if not further:
            return None, product
        (pad_h, pad_w), (kernel_h, kernel_w), (step_h, step_w) = self.padding, self.kernel, self.stride
        padded = torch.Size(kept[1].tolist())
        pieces = torch.bmm(rows, stack[self.weight]).view(clients, batch, high, wide, kernel_h, kernel_w, padded[-1])
        back = g.new_zeros(padded)
        for i in range(kernel_h):
            for j in range(kernel_w):
                back[:, :, i : i + step_h * high : step_h, j : j + step_w * wide : step_w] += pieces[:, :, :, :, i, j]
        return back[:, :, pad_h : padded[2] - pad_h, pad_w : padded[3] - pad_w], product


@dataclass(frozen=True)
class MaxPool:
    """`nn.MaxPool2d` without padding or dilation; ties go to the first, as in PyTorch."""

    trains: ClassVar[bool] = False
    kernel: tuple[int, int]
    stride: tuple[int, int]

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """PyTorch's own kernel, on all clients' images as one batch."""
        images = x.flatten(0, 1).permute(0, 3, 1, 2)
        y, where = F.max_pool2d_with_indices(images, self.kernel, self.stride)
        return y.permute(0, 2, 3, 1).view(*x.shape[:2], *y.shape[2:], -1), (images, where)

    def backward(
        self, stack: Stack, g: Tensor, kept: tuple[Tensor, ...], further: bool
    ) -> tuple[Tensor | None, Product | None]:
        """The gradient goes to the pixel that was largest."""
        images, where = kept
        rows = g.flatten(0, 1).permute(0, 3, 1, 2)
        back = torch.ops.aten.max_pool2d_with_indices_backward(
            rows, images, self.kernel, self.stride, (0, 0), (1, 1), False, where
        )
        return back.permute(0, 2, 3, 1).view(*g.shape[:2], *back.shape[2:], -1), None


@dataclass(frozen=True)
class Activation:
    """ReLU or Tanh: the derivative is read off the output."""

    trains: ClassVar[bool] = False
    apply: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """In place: the layer before keeps its input, not its output."""
        y = self.apply(x)
        return y, (y,)

    def backward(
        self, stack: Stack, g: Tensor, kept: tuple[Tensor, ...], further: bool
    ) -> tuple[Tensor | None, Product | None]:
        """g times the slope."""
        return self.slope(g, kept[0]), None


@dataclass(frozen=True)
class Flatten:
    """`nn.Flatten` from the first axis on; images go back to channels first, as the next weights expect."""

    trains: ClassVar[bool] = False

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`[clients, batch, numbers]`."""
        shape = torch.tensor(x.shape)
        if x.dim() == 5:
            x = x.permute(0, 1, 4, 2, 3)
        return x.flatten(2), (shape,)

    def backward(
        self, stack: Stack, g: Tensor, kept: tuple[Tensor, ...], further: bool
    ) -> tuple[Tensor | None, Product | None]:
        """Back to the image's shape, channels last."""
        shape = kept[0].tolist()
        if len(shape) != 5:
            return g.view(shape), None
        clients, batch, high, wide, channels = shape
        return g.view(clients, batch, channels, high, wide).permute(0, 1, 3, 4, 2).contiguous(), None


@dataclass(frozen=True)
class StackedNetwork:
    """A network in stacked form.

    Attributes:
        layers: in order.
        convolutions: weight name to its shape `(out, in, kh, kw)`, whose layout `enter` and `leave` change.
    """

    layers: tuple[Layer, ...]
    convolutions: dict[str, tuple[int, int, int, int]]

    def enter(self, name: str, value: Tensor) -> Tensor:
        """A stacked parameter `[clients, ...]` in the kernels' layout."""
        if name not in self.convolutions:
            return value
        return value.permute(0, 1, 3, 4, 2).reshape(value.shape[0], value.shape[1], -1)

    def leave(self, name: str, value: Tensor) -> Tensor:
        """The inverse of `enter`."""
        if name not in self.convolutions:
            return value
        out, into, high, wide = self.convolutions[name]
        return value.reshape(-1, out, high, wide, into).permute(0, 1, 4, 2, 3)

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Logits `[clients, batch, classes]` for `x` `[clients, batch, ...]`, and what `backward` needs."""
        kept: list[tuple[Tensor, ...]] = []
        if x.dim() == 5:
            x = x.permute(0, 1, 3, 4, 2)
        for layer in self.layers:
            x, keep = layer.forward(stack, x)
            kept.append(keep)
        return x, kept

    def backward(
        self, stack: Stack, g: Tensor, kept: Sequence[tuple[Tensor, ...]], each: Callable[[Product], None]
    ) -> None:
        """Walks back from the logits' gradient `g`, handing each layer's product to `each`, the last layer's first.

        `each` may change that layer's parameters in place: the gradient by its input has been taken by then.
        """
        first = next(i for i, layer in enumerate(self.layers) if layer.trains)
        gradient: Tensor | None = g
        for i in range(len(self.layers) - 1, first - 1, -1):
            if gradient is None:
                return
            gradient, product = self.layers[i].backward(stack, gradient, kept[i], i > first)
            if product is not None:
                each(product)


def _relu_slope(g: Tensor, y: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward(g, y, 0)  # type: ignore[no-any-return]


def _tanh_slope(g: Tensor, y: Tensor) -> Tensor:
    return torch.ops.aten.tanh_backward(g, y)  # type: ignore[no-any-return]


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def stack_network(model: nn.Module, input_axes: int) -> StackedNetwork | None:
    """The stacked form of `model`, or None where a layer has none (it then runs under `vmap`).

    A form exists for `nn.Sequential` of Linear, Conv2d, MaxPool2d, ReLU, Tanh and Flatten, all trained, each fed
    what it expects (images to convolutions, vectors to dense layers).

    Args:
        model: the skeleton.
        input_axes: axes of one sample: 1 for a vector, 3 for an image.
    """
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    if type(model) is not nn.Sequential or not all(value.requires_grad for value in model.parameters()):
        return None
    if len(names) != len(list(model.parameters())):  # a parameter used twice would be updated twice
        return None
    if any(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks for module in model.modules()):
        return None
    layers: list[Layer] = []
    convolutions: dict[str, tuple[int, int, int, int]] = {}
    axes, bent = input_axes, False
    for name, module in model.named_children():
        layer = _layer(name, module)
        fits = axes == {Dense: 1, Convolution: 3, MaxPool: 3}.get(type(layer), axes)
        # An activation works in place, on what one before it would have kept.
        if layer is None or not fits or (bent and isinstance(layer, Activation)):
            return None
        bent = isinstance(layer, Activation) or (bent and isinstance(layer, Flatten))
        axes = 1 if isinstance(layer, Flatten) else axes
        layers.append(layer)
        if isinstance(module, nn.Conv2d):
            out, into, high, wide = module.weight.shape
            convolutions[f"{name}.weight"] = (out, into, high, wide)
    if axes != 1 or not any(layer.trains for layer in layers):
        return None
    return StackedNetwork(tuple(layers), convolutions)


def _layer(name: str, module: nn.Module) -> Layer | None:
    bias = f"{name}.bias" if getattr(module, "bias", None) is not None else None
    # type, not isinstance: a subclass may compute something else.
    if type(module) is nn.Linear:
        return Dense(f"{name}.weight", bias)
    if type(module) is nn.ReLU:
        return Activation(torch.relu_, _relu_slope)
    if type(module) is nn.Tanh:
        return Activation(torch.tanh_, _tanh_slope)
    if type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
        return Flatten()
    if type(module) is nn.MaxPool2d:
        return _max_pool(module)
    if type(module) is nn.Conv2d:
        return _convolution(name, bias, module)
    return None


def _max_pool(module: nn.MaxPool2d) -> Layer | None:
    if _pair(module.padding) != (0, 0) or _pair(module.dilation) != (1, 1) or module.ceil_mode:
        return None
    return MaxPool(_pair(module.kernel_size), _pair(module.stride))


def _convolution(name: str, bias: str | None, module: nn.Conv2d) -> Layer | None:
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    if not plain or isinstance(module.padding, str):
        return None
    return Convolution(f"{name}.weight", bias, _pair(module.kernel_size), _pair(module.stride), _pair(module.padding))
