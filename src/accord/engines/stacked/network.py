"""The stacked form of a network, which networks have one, and the layout of their parameters.

Each parameter is one contiguous tensor over all clients. With a single matrix for all parameters (a row a client),
batched products into a part of it became one product a client, at three quarters of the speed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from accord.core.params import Params
from accord.engines.stacked.layer_gradients import LayerGradient, Stack
from accord.engines.stacked.layers import (
    Activation,
    Convolution,
    Dense,
    Embedding,
    Flatten,
    Layer,
    MaxPool,
    Normalisation,
    relu_slope,
    tanh_slope,
)


@dataclass(frozen=True)
class StackedNetwork:
    """A network in stacked form.

    Attributes:
        layers: in order.
        shapes: parameter name to its own shape, in the model's order.
    """

    layers: tuple[Layer, ...]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def numbers(self) -> int:
        """Parameters of one client."""
        return sum(torch.Size(shape).numel() for shape in self.shapes.values())

    def enter(self, params: Mapping[str, Tensor]) -> Stack:
        """Copies parameters `[clients, *shape]` by name into the layout of the layers."""
        return {name: self._packed(name, self._enter(name, params[name]).contiguous().clone()) for name in self.shapes}

    def leave(self, stack: Mapping[str, Tensor]) -> Params:
        """The inverse of `enter`, which gives `[clients, *shape]` by name."""
        return {name: self._leave(name, stack[name]) for name in self.shapes}

    def in_noise_order(self, stack: Stack) -> Stack:
        """Views of a stack in the order of noise draws, each parameter's first axis last (see `noise.gaussian`)."""
        return {name: self._in_noise_order(name, value) for name, value in stack.items()}

    def forward(self, stack: Stack, x: Tensor) -> tuple[Tensor, list[Any]]:
        """Logits `[clients, samples, classes]` for `x` `[clients, samples, ...]`, and what `backward` needs."""
        activations: list[Any] = []
        # Images arrive channels first, and layers work channels last.
        if x.dim() == 5:
            x = x.permute(0, 1, 3, 4, 2)
        for layer in self.layers:
            x, saved = layer.forward(stack, x)
            activations.append(saved)
        return x, activations

    def backward(
        self, stack: Stack, g: Tensor, activations: Sequence[Any], each: Callable[[LayerGradient], None]
    ) -> None:
        """Propagates the logits' gradient `g` back and calls `each` with each layer's part, the last layer first.

        `each` may change that layer's parameters in place, since the gradient by its input has been computed by then.
        """
        # Layers before the first one that trains need no gradient.
        first = next(i for i, layer in enumerate(self.layers) if layer.trains)
        gradient: Tensor | None = g
        for i in range(len(self.layers) - 1, first - 1, -1):
            if gradient is None:
                return
            gradient, part = self.layers[i].backward(stack, gradient, activations[i], i > first)
            if part is not None:
                each(part)

    def _convolution(self, name: str) -> Convolution | None:
        return next((layer for layer in self.layers if isinstance(layer, Convolution) and layer.weight == name), None)

    def _enter(self, name: str, value: Tensor) -> Tensor:
        """Converts `[clients, *shape]` to the axes of the stack."""
        convolution = self._convolution(name)
        if convolution is not None:
            return convolution.enter(value)
        if value.dim() == 2:
            return value.unsqueeze(1)
        return value.transpose(1, 2) if self._is_dense(name) else value

    def _packed(self, name: str, value: Tensor) -> Tensor:
        """Stores the longer axis innermost, in the same order of axes.

        Products with few outputs then run several times as fast.
        """
        few = self._is_dense(name) and value.shape[2] < min(64, value.shape[1])
        return value.transpose(1, 2).contiguous().transpose(1, 2) if few else value

    def _in_noise_order(self, name: str, value: Tensor) -> Tensor:
        convolution = self._convolution(name)
        if convolution is not None:
            return convolution.in_noise_order(value)
        # Dense weights are stacked as [in, out], which is the order of the draws. Tables keep their own order.
        table = len(self.shapes[name]) > 1 and not self._is_dense(name)
        return value.transpose(1, 2) if table else value

    def _leave(self, name: str, value: Tensor) -> Tensor:
        convolution = self._convolution(name)
        if convolution is not None:
            return convolution.leave(value)
        if self._is_dense(name):
            return value.transpose(1, 2)
        return value.reshape(len(value), *self.shapes[name])

    def _is_dense(self, name: str) -> bool:
        return any(isinstance(layer, Dense) and layer.weight == name for layer in self.layers)


def stack_network(model: nn.Module, input_axes: int, *, by_sample: bool = False) -> StackedNetwork | None:
    """The stacked form of `model`, or None where a layer has none (it then runs under `vmap`).

    A form exists for `nn.Sequential` of Linear, Conv2d, MaxPool2d, Embedding, LayerNorm, GroupNorm, ReLU, Tanh and
    Flatten. All parameters must be trained, and each layer must get what it expects (images for convolutions, tokens
    for an embedding).

    Args:
        model: the model, whose own parameter values are not used.
        input_axes: number of axes of one sample, 1 for a vector or tokens and 3 for an image.
        by_sample: whether gradients will be clipped by sample.
    """
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    if type(model) is not nn.Sequential or not all(value.requires_grad for value in model.parameters()):
        return None
    if len(names) != len(list(model.parameters())):  # a parameter used twice would be updated twice
        return None
    if any(_altered(module) for module in model.modules()):
        return None
    layers: list[Layer] = []
    axes, after_activation = input_axes, False
    for i, (name, module) in enumerate(model._modules.items()):  # named_children() leaves out what comes twice
        layer = None if module is None else _layer(name, module, axes, by_sample)
        # An activation works in place, so a second one would overwrite the output that the first one keeps.
        if (
            layer is None
            or (after_activation and isinstance(layer, Activation))
            or (isinstance(layer, Embedding) and i)
        ):
            return None
        after_activation = isinstance(layer, Activation) or (after_activation and isinstance(layer, Flatten))
        axes = 1 if isinstance(layer, Flatten) else axes + isinstance(layer, Embedding)
        layers.append(layer)
    if axes != 1 or not any(layer.trains for layer in layers):
        return None
    # A parameter that no layer knows, such as one registered by hand, would never be updated.
    if {name for layer in layers for name in _parameters(layer)} != set(names):
        return None
    return StackedNetwork(tuple(layers), {name: tuple(value.shape) for name, value in model.named_parameters()})


def _parameters(layer: Layer) -> list[str]:
    if isinstance(layer, Embedding):
        return [layer.weight]
    if isinstance(layer, Dense | Convolution | Normalisation):
        return [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
    return []


def _altered(module: nn.Module) -> bool:
    """Whether a module has hooks or a replaced `forward`, so that its type does not describe it."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or "forward" in module.__dict__


def _layer(name: str, module: nn.Module, axes: int, by_sample: bool) -> Layer | None:
    """The layer in stacked form. None where it has none, or where samples of `axes` axes do not suit it."""
    bias = f"{name}.bias" if getattr(module, "bias", None) is not None else None
    # `type`, not `isinstance`, since a subclass may compute something else.
    if type(module) is nn.Linear:
        return Dense(f"{name}.weight", bias) if axes in (1, 2) else None
    if type(module) is nn.ReLU:
        return Activation(torch.relu_, relu_slope)
    if type(module) is nn.Tanh:
        return Activation(torch.tanh_, tanh_slope)
    if type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
        return Flatten()
    if type(module) is nn.MaxPool2d:
        return _max_pool(module) if axes == 3 else None
    if type(module) is nn.Conv2d:
        return _convolution(name, bias, module, by_sample) if axes == 3 else None
    if type(module) is nn.Embedding:
        plain = module.padding_idx is None and module.max_norm is None and not module.scale_grad_by_freq
        return Embedding(f"{name}.weight", module.num_embeddings) if plain and not module.sparse and axes == 1 else None
    if isinstance(module, nn.LayerNorm | nn.GroupNorm):
        return _normalisation(name, bias, module, axes)
    return None


def _normalisation(name: str, bias: str | None, module: nn.LayerNorm | nn.GroupNorm, axes: int) -> Layer | None:
    if bias is None or module.weight is None:
        return None
    if type(module) is nn.LayerNorm and len(module.normalized_shape) == 1 and axes in (1, 2):
        return Normalisation(f"{name}.weight", bias, 1, module.eps, over_positions=False)
    if type(module) is nn.GroupNorm and axes in (1, 3):
        return Normalisation(f"{name}.weight", bias, module.num_groups, module.eps, over_positions=True)
    return None


def _max_pool(module: nn.MaxPool2d) -> Layer | None:
    if _pair(module.padding) != (0, 0) or _pair(module.dilation) != (1, 1) or module.ceil_mode:
        return None
    return MaxPool(_pair(module.kernel_size), _pair(module.stride))


def _convolution(name: str, bias: str | None, module: nn.Conv2d, by_sample: bool) -> Layer | None:
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    if not plain or isinstance(module.padding, str):
        return None
    out, into, height, width = module.weight.shape
    shape = (out, into, height, width)
    return Convolution(f"{name}.weight", bias, shape, _pair(module.stride), _pair(module.padding), by_sample)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
