"""A model's parameters as a dict from name to tensor, `Params`, with arithmetic on it.

Every function returns new tensors and does not change its arguments. With two `Params`, the first determines the names.
The second must have these names in the same shapes. Its other names are ignored.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

Params = dict[str, Tensor]
"""Name to tensor, in the model's own order. An update is a client's params minus the round's params."""


def zeros_like(params: Mapping[str, Tensor]) -> Params:
    """Zeros of the same names, shapes, dtype and device."""
    return {name: torch.zeros_like(value) for name, value in params.items()}


def add(a: Mapping[str, Tensor], b: Mapping[str, Tensor], scale: float = 1.0) -> Params:
    """Computes `a + scale * b`, name by name.

    >>> add({"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}, scale=-1.0)
    {'w': tensor([-1.])}
    """
    return {name: torch.add(value, b[name], alpha=scale) for name, value in a.items()}


def subtract(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Params:
    """Computes `a - b`, name by name."""
    return {name: value - b[name] for name, value in a.items()}


def multiply(a: Mapping[str, Tensor], scale: float | Tensor) -> Params:
    """Computes `scale * a`, name by name."""
    return {name: value * scale for name, value in a.items()}


def flatten(params: Mapping[str, Tensor]) -> Tensor:
    """Concatenates all values into a vector, shape `[count(params)]`, in the dict's order."""
    return torch.cat([value.reshape(-1) for value in params.values()])


def unflatten(vector: Tensor, like: Mapping[str, Tensor]) -> Params:
    """The inverse of `flatten`, which cuts `vector` of shape `[count(like)]` into the shapes of `like`.

    >>> p = {"w": torch.arange(4.0).reshape(2, 2), "b": torch.tensor([9.0])}
    >>> unflatten(flatten(p), p)["w"].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    pieces = torch.split(vector, [value.numel() for value in like.values()])
    return {name: piece.reshape(value.shape) for (name, value), piece in zip(like.items(), pieces, strict=True)}


def norm(params: Mapping[str, Tensor]) -> float:
    """The L2 norm over all values together, accumulated in float64.

    >>> norm({"a": torch.tensor([3.0]), "b": torch.tensor([4.0])})
    5.0
    """
    return math.sqrt(sum(float(value.double().square().sum()) for value in params.values()))


def count(params: Mapping[str, Tensor]) -> int:
    """How many numbers there are in the parameters."""
    return sum(value.numel() for value in params.values())


def all_finite(params: Mapping[str, Tensor]) -> bool:
    """Whether no value is NaN or infinite."""
    return all(bool(torch.isfinite(value).all()) for value in params.values())
