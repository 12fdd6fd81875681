"""Layers in stacked form, with forward and backward passes written by hand for many clients at once.

Every tensor has clients first, then samples. Images are stored channels last, so that a convolution is a dense layer
on patches (im2col, Chellapilla et al. 2006). Where the patches would not fit the cache, each client's convolution is
PyTorch's own. A stride that divides the kernel is first folded into the channels (space to depth). This gives the same
sums with fewer, longer runs of memory to copy.

`program.local.step` under `vmap` computes the same. The tests compare the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from accord.engines.stacked.layer_gradients import BySample, LayerGradient, Lookup, Product, Stack, Summed

# Patches of one client's batch beyond this many bytes do not fit a core's cache, and PyTorch's convolution is faster.
# Measured from 0.25 MB (patches 1.4 times as fast) to 6 MB (half as fast), with equal times near 1 MB.
_PATCH_BYTES = 2**20
# Weights of this many numbers do not fit it either. A few rows times the transposed weight then take twice the time of
# the transposed product.
_LARGE_WEIGHT = 2**19


class Layer(Protocol):
    """A layer, whose input `x` and output `y` are `[clients, samples, ...]`."""

    trains: ClassVar[bool]

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, Any]:
        """Computes y, and returns it with what `backward` needs."""
        ...

    def backward(
        self, stack: Stack, g: Tensor, saved: Any, needs_input_grad: bool
    ) -> tuple[Tensor | None, LayerGradient | None]:
        """The gradient by x (None unless `needs_input_grad`), and the layer's part of the gradient where it trains."""
        ...


def _affine(stack: Stack, weight: str, bias: str | None, a: Tensor) -> Tensor:
    return torch.bmm(a, stack[weight]) if bias is None else torch.baddbmm(stack[bias], a, stack[weight])


@dataclass(frozen=True)
class Dense:
    """`nn.Linear`, on vectors or on each position of a sequence."""

    trains: ClassVar[bool] = True
    weight: str
    bias: str | None

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, Any]:
        """Computes y = x W + b."""
        rows = x if x.dim() == 3 else x.flatten(1, 2)
        y = _affine(stack, self.weight, self.bias, rows)
        return (y if x.dim() == 3 else y.view(*x.shape[:3], -1)), rows

    def backward(
        self, stack: Stack, g: Tensor, saved: Any, needs_input_grad: bool
    ) -> tuple[Tensor | None, LayerGradient | None]:
        """Computes the gradient by x, g W^T."""
        rows = g if g.dim() == 3 else g.flatten(1, 2)
        part = Product(self.weight, self.bias, saved, rows, 1 if g.dim() == 3 else g.shape[2])
        if not needs_input_grad:
            return None, part
        weight = stack[self.weight]
        # The transposed product reads a large weight along its rows, in the order in which it is stored.
        if weight[0].numel() >= _LARGE_WEIGHT and weight.is_contiguous():
            back = torch.bmm(weight, rows.transpose(1, 2)).transpose(1, 2).contiguous()
        else:
            back = torch.bmm(rows, weight.transpose(1, 2))
        return (back if g.dim() == 3 else back.view(*g.shape[:3], -1)), part


@dataclass(frozen=True)
class Convolution:
    """`nn.Conv2d` with zero padding, undilated and ungrouped, on images `[clients, samples, high, wide, channels]`.

    Attributes:
        weight: name of the weight, which `enter` stacks as `[clients, kernel numbers, out]`.
        bias: name of the bias, or None.
        shape: shape of the weight, as out, in, kernel height and width.
        stride: rows and columns.
        padding: rows and columns.
        by_sample: whether per-sample gradients will be needed. Patches are then always formed.
    """

    trains: ClassVar[bool] = True
    weight: str
    bias: str | None
    shape: tuple[int, int, int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    by_sample: bool

    @property
    def _fold(self) -> tuple[int, int]:
        """Rows and columns folded into the channels."""
        _, _, height, width = self.shape
        divides = height % self.stride[0] == 0 and width % self.stride[1] == 0
        return self.stride if divides else (1, 1)

    def enter(self, value: Tensor) -> Tensor:
        """Converts weights `[clients, out, in, kh, kw]` to the layout of the stack."""
        out, into, height, width = self.shape
        fold_h, fold_w = self._fold
        # Axes: kernel rows and columns first, then the folded stride, then channels and outputs, as patches are cut.
        blocks = value.reshape(-1, out, into, height // fold_h, fold_h, width // fold_w, fold_w)
        return blocks.permute(0, 3, 5, 4, 6, 2, 1).reshape(len(value), -1, out)

    def leave(self, value: Tensor) -> Tensor:
        """The inverse of `enter`."""
        out, into, height, width = self.shape
        fold_h, fold_w = self._fold
        blocks = value.reshape(-1, height // fold_h, width // fold_w, fold_h, fold_w, into, out)
        return blocks.permute(0, 6, 5, 1, 3, 2, 4).reshape(-1, out, into, height, width)

    def in_noise_order(self, value: Tensor) -> Tensor:
        """A view of stacked weights with axes in, kernel rows, kernel columns, out. Folded strides have own axes."""
        out, into, height, width = self.shape
        fold_h, fold_w = self._fold
        blocks = value.view(-1, height // fold_h, width // fold_w, fold_h, fold_w, into, out)
        return blocks.permute(0, 5, 1, 3, 2, 4, 6)

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, Any]:
        """Computes a dense layer on patches, or PyTorch's convolution for each client."""
        height, width = self._output_size(x)
        if not self.by_sample and x.shape[1] * height * width * stack[self.weight].shape[1] * x.itemsize > _PATCH_BYTES:
            return self._forward_per_client(stack, x), (x, None)
        folded = self._folded(x, height, width)
        (kernel_h, kernel_w), (step_h, step_w) = self._kernel(), self._step()
        # `unfold` gives views. The `reshape` below is the only copy.
        windows = folded.unfold(2, kernel_h, step_h).unfold(3, kernel_w, step_w)
        patches = windows.permute(0, 1, 2, 3, 5, 6, 4).reshape(x.shape[0], x.shape[1] * height * width, -1)
        y = _affine(stack, self.weight, self.bias, patches)
        return y.view(*x.shape[:2], height, width, -1), (x, patches)

    def backward(
        self, stack: Stack, g: Tensor, saved: Any, needs_input_grad: bool
    ) -> tuple[Tensor | None, LayerGradient | None]:
        """Computes the gradient by x, adding each patch's gradient where the patch was cut."""
        x, patches = saved
        if patches is None:
            return self._backward_per_client(stack, g, x, needs_input_grad)
        clients, samples, height, width, out = g.shape
        rows = g.reshape(clients, samples * height * width, out)
        part = Product(self.weight, self.bias, patches, rows, height * width)
        if not needs_input_grad:
            return None, part
        (kernel_h, kernel_w), (step_h, step_w), (fold_h, fold_w) = self._kernel(), self._step(), self._fold
        channels = x.shape[4] * fold_h * fold_w
        pieces = torch.bmm(rows, stack[self.weight].transpose(1, 2))
        pieces = pieces.view(clients, samples, height, width, kernel_h, kernel_w, channels)
        folded_h, folded_w = step_h * (height - 1) + kernel_h, step_w * (width - 1) + kernel_w
        back = g.new_zeros(clients, samples, folded_h, folded_w, channels)
        # One addition for each kernel position. Within one position patches do not overlap, so a slice suffices.
        for i in range(kernel_h):
            for j in range(kernel_w):
                back[:, :, i : i + step_h * height : step_h, j : j + step_w * width : step_w] += pieces[
                    :, :, :, :, i, j
                ]
        back = back.view(clients, samples, folded_h, folded_w, fold_h, fold_w, -1).permute(0, 1, 2, 4, 3, 5, 6)
        back = back.reshape(clients, samples, folded_h * fold_h, folded_w * fold_w, -1)
        # Negative padding crops. Rows and columns that no kernel reached are put back with gradient 0.
        pad_h, pad_w = self.padding
        after_h, after_w = x.shape[2] + pad_h - back.shape[2], x.shape[3] + pad_w - back.shape[3]
        return F.pad(back, (0, 0, -pad_w, after_w, -pad_h, after_h)), part

    def _kernel(self) -> tuple[int, int]:
        return self.shape[2] // self._fold[0], self.shape[3] // self._fold[1]

    def _step(self) -> tuple[int, int]:
        return self.stride[0] // self._fold[0], self.stride[1] // self._fold[1]

    def _output_size(self, x: Tensor) -> tuple[int, int]:
        height, width = (
            (size + 2 * pad - kernel) // step + 1
            for size, pad, kernel, step in zip(x.shape[2:4], self.padding, self.shape[2:], self.stride, strict=True)
        )
        return height, width

    def _folded(self, x: Tensor, height: int, width: int) -> Tensor:
        """Pads the image, cuts it to what the kernel reaches, and folds the stride into the channels."""
        (pad_h, pad_w), (fold_h, fold_w) = self.padding, self._fold
        need_h, need_w = (
            step * (positions - 1) + kernel
            for step, positions, kernel in zip(self.stride, (height, width), self.shape[2:], strict=True)
        )
        after_h, after_w = need_h - x.shape[2] - pad_h, need_w - x.shape[3] - pad_w
        if pad_h or pad_w or after_h or after_w:
            x = F.pad(x, (0, 0, pad_w, after_w, pad_h, after_h))
        if (fold_h, fold_w) == (1, 1):
            return x
        blocks = x.reshape(*x.shape[:2], need_h // fold_h, fold_h, need_w // fold_w, fold_w, x.shape[4])
        return blocks.permute(0, 1, 2, 4, 3, 5, 6).reshape(*x.shape[:2], need_h // fold_h, need_w // fold_w, -1)

    def _forward_per_client(self, stack: Stack, x: Tensor) -> Tensor:
        """Computes each client's convolution by PyTorch's own kernel."""
        weights, biases = self.leave(stack[self.weight]), None if self.bias is None else stack[self.bias].squeeze(1)
        parts = [
            F.conv2d(
                images.permute(0, 3, 1, 2), weights[i], None if biases is None else biases[i], self.stride, self.padding
            )
            for i, images in enumerate(x)
        ]
        return _stacked(parts).permute(0, 1, 3, 4, 2).contiguous()

    def _backward_per_client(
        self, stack: Stack, g: Tensor, x: Tensor, needs_input_grad: bool
    ) -> tuple[Tensor | None, LayerGradient | None]:
        """Computes the gradients of each client's convolution by PyTorch's own kernel, summed over samples."""
        weights, needs_grad = self.leave(stack[self.weight]), [needs_input_grad, True, self.bias is not None]
        backs, sums, biases = [], [], []
        for gradient, images, weight in zip(g, x, weights, strict=True):
            back, by_weight, by_bias = torch.ops.aten.convolution_backward(
                gradient.permute(0, 3, 1, 2), images.permute(0, 3, 1, 2), weight, [self.shape[0]],
                self.stride, self.padding, (1, 1), False, (0, 0), 1, needs_grad,
            )  # fmt: skip
            backs.append(back)
            sums.append(by_weight)
            biases.append(by_bias)
        values = {self.weight: self.enter(_stacked(sums))}
        if self.bias is not None:
            values[self.bias] = _stacked(biases).unsqueeze(1)
        return _stacked(backs).permute(0, 1, 3, 4, 2).contiguous() if needs_input_grad else None, Summed(values)


@dataclass(frozen=True)
class MaxPool:
    """`nn.MaxPool2d` without padding or dilation. Ties go to the first, as in PyTorch."""

    trains: ClassVar[bool] = False
    kernel: tuple[int, int]
    stride: tuple[int, int]

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, Any]:
        """Applies PyTorch's own kernel to all clients' images as one batch."""
        images = x.flatten(0, 1).permute(0, 3, 1, 2)
        y, where = F.max_pool2d_with_indices(images, self.kernel, self.stride)
        return y.permute(0, 2, 3, 1).view(*x.shape[:2], *y.shape[2:], -1), (images, where)

    def backward(
        self, stack: Stack, g: Tensor, saved: Any, needs_input_grad: bool
    ) -> tuple[Tensor | None, LayerGradient | None]:
        """Passes the gradient to the pixel that was largest."""
        images, where = saved
        rows = g.flatten(0, 1).permute(0, 3, 1, 2)
        back = torch.ops.aten.max_pool2d_with_indices_backward(
            rows, images, self.kernel, self.stride, (0, 0), (1, 1), False, where
        )
        return back.permute(0, 2, 3, 1).view(*g.shape[:2], *back.shape[2:], -1), None


@dataclass(frozen=True)
class Activation:
    """ReLU or Tanh, with the derivative computed from the output."""

    trains: ClassVar[bool] = False
    apply: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, Any]:
        """Applies the function in place, which is safe since the layer before keeps its input, not its output."""
        y = self.apply(x)
        return y, y

    def backward(
        self, stack: Stack, g: Tensor, saved: Any, needs_input_grad: bool
    ) -> tuple[Tensor | None, LayerGradient | None]:
        """Multiplies g by the slope."""
        return self.slope(g, saved), None


@dataclass(frozen=True)
class Flatten:
    """`nn.Flatten` from the first axis on. Images become channels first, as the next layer's weights expect."""

    trains: ClassVar[bool] = False

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, Any]:
        """Flattens to `[clients, samples, numbers]`."""
        turned = x.permute(0, 1, 4, 2, 3) if x.dim() == 5 else x
        return turned.flatten(2), x.shape

    def backward(
        self, stack: Stack, g: Tensor, saved: Any, needs_input_grad: bool
    ) -> tuple[Tensor | None, LayerGradient | None]:
        """Restores the image's shape, channels last."""
        if len(saved) != 5:
            return g.view(saved), None
        clients, samples, height, width, channels = saved
        return g.view(clients, samples, channels, height, width).permute(0, 1, 3, 4, 2).contiguous(), None


@dataclass(frozen=True)
class Embedding:
    """`nn.Embedding` without padding or largest norm, on tokens `[clients, samples, places]`."""

    trains: ClassVar[bool] = True
    weight: str
    size: int

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, Any]:
        """Looks up rows, `[clients, samples, places, width]`.

        Raises:
            IndexError: a token is outside the table.
        """
        # Checked by hand, since indexing alone would take a negative token for a row from the table's end.
        if x.numel() and (int(x.min()) < 0 or int(x.max()) >= self.size):
            raise IndexError(f"a token is outside the embedding's {self.size} rows")
        return stack[self.weight][torch.arange(len(x), device=x.device).view(-1, 1, 1), x], x

    def backward(
        self, stack: Stack, g: Tensor, saved: Any, needs_input_grad: bool
    ) -> tuple[Tensor | None, LayerGradient | None]:
        """Returns the table's part. Tokens have no gradient."""
        return None, Lookup(self.weight, self.size, saved, g)


@dataclass(frozen=True)
class Normalisation:
    """`nn.LayerNorm` over the last axis, and `nn.GroupNorm` on images.

    Attributes:
        weight: name of the scale.
        bias: name of the shift.
        groups: number of groups into which channels are divided, 1 for a layer norm.
        eps: added to the variance.
        over_positions: whether statistics run over a sample's places too (group norm on images).
    """

    trains: ClassVar[bool] = True
    weight: str
    bias: str
    groups: int
    eps: float
    over_positions: bool

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, Any]:
        """Computes y = (x - mean) / sqrt(variance + eps) * scale + shift (Ba et al. 2016, Wu & He 2018)."""
        # Axes: clients, samples, places, groups, channels of a group. correction=0 is the biased variance of PyTorch's
        # own layers.
        parts = x.reshape(*x.shape[:2], -1, self.groups, x.shape[-1] // self.groups)
        variance, mean = torch.var_mean(parts, self._over(), correction=0, keepdim=True)
        root = (variance + self.eps).rsqrt()
        normal = (parts - mean) * root
        scale, shift = self._spread(stack[self.weight], parts), self._spread(stack[self.bias], parts)
        return (normal * scale + shift).view(x.shape), (normal, root)

    def backward(
        self, stack: Stack, g: Tensor, saved: Any, needs_input_grad: bool
    ) -> tuple[Tensor | None, LayerGradient | None]:
        """Computes g' = root (h - mean(h) - normal mean(h normal)) with h = g scale."""
        normal, root = saved
        parts = g.reshape(normal.shape)
        clients, samples = g.shape[:2]
        part = BySample(
            {
                self.weight: (parts * normal).sum(2).view(clients, samples, 1, -1),
                self.bias: parts.sum(2).view(clients, samples, 1, -1),
            }
        )
        if not needs_input_grad:
            return None, part
        h = parts * self._spread(stack[self.weight], parts)
        over = self._over()
        back = root * (h - h.mean(over, keepdim=True) - normal * (h * normal).mean(over, keepdim=True))
        return back.view(g.shape), part

    def _over(self) -> tuple[int, ...]:
        return (2, 4) if self.over_positions else (4,)

    def _spread(self, value: Tensor, parts: Tensor) -> Tensor:
        return value.view(len(value), 1, 1, self.groups, parts.shape[4])


def _stacked(parts: list[Tensor]) -> Tensor:
    """Stacks as `torch.stack` does, but without a copy where there is one tensor only."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)


def relu_slope(g: Tensor, y: Tensor) -> Tensor:
    """Gradient through ReLU, computed from its output."""
    return torch.ops.aten.threshold_backward(g, y, 0)  # type: ignore[no-any-return]


def tanh_slope(g: Tensor, y: Tensor) -> Tensor:
    """Gradient through Tanh, computed from its output."""
    return torch.ops.aten.tanh_backward(g, y)  # type: ignore[no-any-return]
