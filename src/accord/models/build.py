"""A network by its name in the study."""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

from accord.errors import StudyError
from accord.models.custom import custom
from accord.models.dense import logistic, mlp
from accord.models.images import mcmahan_cnn, tfp_cnn
from accord.streams import isolated_torch

NETWORKS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "logistic": logistic,
        "mlp": mlp,
        "tfp_cnn": tfp_cnn,
        "mcmahan_cnn": mcmahan_cnn,
        "custom": custom,
    }
)
"""Name to `function(input_shape, classes, **options)`."""


def build(name: str, options: Mapping[str, Any], input_shape: Sequence[int], classes: int, seed: int) -> nn.Module:
    """The network called `name`, on the CPU, with initial values drawn from the seed's `model` stream.

    Args:
        name: one of `NETWORKS`.
        options: the network's own settings, such as `hidden` of `mlp`.
        input_shape: shape of one sample, without the batch.
        classes: how many labels.
        seed: the study's seed; equal seeds give equal initial values, whatever torch's global generator does.

    Returns:
        A module from `[batch, *input_shape]` to logits `[batch, classes]`.

    Raises:
        StudyError: no such network, an option it does not take, or data of a shape it does not take.

    >>> import torch
    >>> build("mlp", {"hidden": (32,)}, (1, 8, 8), classes=10, seed=7)(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    network = NETWORKS.get(name)
    if network is None:
        close = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise StudyError(f"model.name: unknown model {name!r}{hint} (one of: {', '.join(NETWORKS)})")
    try:
        inspect.signature(network).bind(input_shape, classes, **options)
    except TypeError as error:
        raise StudyError(f"model {name}: {error}") from error
    with isolated_torch(seed, "model"):
        return network(input_shape, classes, **options)
