"""Networks of dense layers, which flatten the data whatever its shape."""

import itertools
import math
from collections.abc import Sequence

from torch import nn


def logistic(input_shape: Sequence[int], classes: int) -> nn.Module:
    """Softmax regression: one dense layer from the flattened input to the logits.

    It starts at zero. The loss is convex, so the starting point does not matter, and zero favours no class.

    Args:
        input_shape: shape of one sample, without the batch.
        classes: the number of labels.

    Returns:
        A module from `[batch, *input_shape]` to logits `[batch, classes]`.
    """
    return _zeros(input_shape, classes)


def linear(input_shape: Sequence[int], outputs: int = 1) -> nn.Module:
    """Linear regression: one dense layer from the flattened input to the predicted number.

    It starts at zero, as `logistic` does.

    Args:
        input_shape: shape of one sample, without the batch.
        outputs: how many numbers are predicted.

    Returns:
        A module from `[batch, *input_shape]` to `[batch, outputs]`.
    """
    return _zeros(input_shape, outputs)


def _zeros(input_shape: Sequence[int], outputs: int) -> nn.Module:
    dense = nn.Linear(math.prod(input_shape), outputs)
    nn.init.zeros_(dense.weight)
    nn.init.zeros_(dense.bias)
    return nn.Sequential(nn.Flatten(), dense)


def mlp(input_shape: Sequence[int], classes: int, *, hidden: Sequence[int] = (64,)) -> nn.Module:
    """Dense layers with ReLU between them, initialised as in PyTorch.

    Args:
        input_shape: shape of one sample, without the batch.
        classes: the number of labels.
        hidden: width of each hidden layer. No width gives a single dense layer.

    Returns:
        A module from `[batch, *input_shape]` to logits `[batch, classes]`.
    """
    widths = [math.prod(input_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
