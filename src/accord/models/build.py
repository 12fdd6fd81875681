"""Builds a network by its name in the study."""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

from accord.core.errors import StudyError
from accord.core.streams import isolated_torch
from accord.models.adapt import SETTINGS, adapt
from accord.models.custom import custom
from accord.models.dense import linear, logistic, mlp
from accord.models.images import mcmahan_cnn, tfp_cnn
from accord.models.resnet import resnet18
from accord.models.text import lstm

NETWORKS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "logistic": logistic,
        "linear": linear,
        "mlp": mlp,
        "tfp_cnn": tfp_cnn,
        "mcmahan_cnn": mcmahan_cnn,
        "resnet18": resnet18,
        "lstm": lstm,
        "custom": custom,
    }
)
"""Name to `function(input_shape, classes, **options)`."""


def build(
    name: str,
    options: Mapping[str, Any],
    input_shape: Sequence[int],
    classes: int,
    seed: int,
    *,
    tokens: int | None = None,
) -> nn.Module:
    """Builds the network called `name` on the CPU, with initial values drawn from the seed's `model` stream.

    Args:
        name: one of `NETWORKS`.
        options: the network's own settings, such as `hidden` of `mlp`, and those of `adapt` that every network may
            have.
        input_shape: shape of one sample, without the batch.
        classes: the number of labels, or 0 where the target is a number, for which the network has 1 output.
        seed: the study's seed. Equal seeds give equal initial values, whatever the state of torch's global generator.
        tokens: how many different tokens rows contain, or None where rows are floating-point numbers.

    Returns:
        A module from `[batch, *input_shape]` to logits `[batch, classes]`, or to predictions `[batch, 1]`.

    Raises:
        StudyError: no such network, an option it does not take, data of a shape or kind it does not take, a target of
            a kind it does not predict, or what `adapt` refuses.

    >>> import torch
    >>> build("mlp", {"hidden": (32,)}, (1, 8, 8), classes=10, seed=7)(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    network = NETWORKS.get(name)
    if network is None:
        close = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise StudyError(f"model.name: unknown model {name!r}{hint} (one of: {', '.join(NETWORKS)})")
    _check_target(name, classes)
    outputs = classes or 1
    own = {key: value for key, value in options.items() if key not in SETTINGS}
    try:
        # Bound before the call, so that a TypeError inside the network is not taken for a wrong option.
        inspect.signature(network).bind(input_shape, outputs, **own)
    except TypeError as error:
        raise StudyError(f"model {name}: {error}") from error
    _check_kind(name, tokens, own.get("vocabulary") or outputs)
    if network is custom:
        # A custom network is tried on rows of the data's type.
        own["tokens"] = tokens is not None
    # PyTorch's initialisers draw from its global generator, which is seeded for this block only.
    with isolated_torch(seed, "model"):
        model = network(input_shape, outputs, **own)
    return adapt(model, {key: options[key] for key in SETTINGS if key in options}, seed)


def _check_target(name: str, classes: int) -> None:
    """Refuses classes where the network predicts a number, and a number where it predicts classes."""
    if NETWORKS[name] is linear and classes:
        raise StudyError(
            f"model.name: linear predicts a number, but the data has {classes} classes; use logistic, or data whose "
            "target is a number"
        )
    if NETWORKS[name] is logistic and not classes:
        raise StudyError("model.name: logistic predicts classes, but the data's target is a number; use linear or mlp")


def _check_kind(name: str, tokens: int | None, vocabulary: int) -> None:
    """Refuses tokens for a network of numbers, numbers for one of tokens, and tokens beyond its vocabulary."""
    if NETWORKS[name] is custom:
        return
    if NETWORKS[name] is not lstm:
        if tokens is not None:
            raise StudyError(f"model.name: {name} takes numbers, but the data holds tokens; use lstm or a custom model")
        return
    if tokens is None:
        raise StudyError("model.name: lstm takes tokens, but the data holds numbers; use it with data text")
    if tokens > vocabulary:
        raise StudyError(
            f"model.vocabulary: the data holds tokens up to {tokens - 1}, but the network has room for {vocabulary} "
            f"tokens; set it to {tokens} or more"
        )
