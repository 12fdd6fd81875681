"""Applies the settings that every network may have: pretrained weights, frozen parameters, low-rank factors."""

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from accord.core.errors import StudyError
from accord.core.streams import isolated_torch
from accord.models.lora import add_factors
from accord.models.pretrained import load_weights

SETTINGS = ("pretrained", "pretrained_sha256", "pretrained_except", "freeze", "lora")
"""The settings of `model` that apply to every network."""


def adapt(model: nn.Module, settings: Mapping[str, Any], seed: int) -> nn.Module:
    """Loads pretrained weights into the network, then adds factors or freezes parameters.

    Args:
        model: the network as built, which is changed in place.
        settings: those of `SETTINGS` that are set.
        seed: the study's seed. Factors are drawn from its `lora` stream.

    Returns:
        The network. Parameters with `requires_grad` are trained and sent, the others are neither.

    Raises:
        StudyError: the file does not fit, a pattern matches nothing, or nothing is left to train.
    """
    if settings.get("pretrained"):
        digest, leave = settings.get("pretrained_sha256"), settings.get("pretrained_except", ())
        load_weights(model, settings["pretrained"], digest, leave)
    lora = settings.get("lora")
    if lora is not None:
        with isolated_torch(seed, "lora"):
            model = add_factors(model, lora["layers"], lora["rank"], lora["alpha"])
        _train(model, lora["also_train"], True, "model.lora.also_train")
    _train(model, settings.get("freeze", ()), False, "model.freeze")
    if not any(value.requires_grad for value in model.parameters()):
        raise StudyError("model.freeze: every parameter is frozen, so there is nothing to train; freeze fewer")
    return model


def _train(model: nn.Module, patterns: Sequence[str], trained: bool, where: str) -> None:
    """Sets whether the parameters that the patterns match are trained."""
    values = dict(model.named_parameters())
    for pattern in patterns:
        matched = [name for name in values if fnmatchcase(name, pattern)]
        if not matched:
            near = difflib.get_close_matches(pattern, values, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise StudyError(f"{where}: {pattern!r} matches no parameter{hint} (they are: {', '.join(values)})")
        for name in matched:
            values[name].requires_grad_(trained)
