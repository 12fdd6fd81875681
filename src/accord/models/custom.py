"""Builds a user-defined network, and tries it on two rows before anything starts."""

import copy
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from accord.core.errors import StudyError
from accord.core.plugins import load_function
from accord.models.recurrent import write_out_recurrent


def custom(
    input_shape: Sequence[int],
    classes: int,
    *,
    function: str,
    settings: Mapping[str, Any] = MappingProxyType({}),
    tokens: bool = False,
) -> nn.Module:
    """Returns the module of `function(input_shape=..., classes=..., **settings)`, with recurrent layers written out.

    Args:
        input_shape: shape of one sample, without the batch, which the function gets as a tuple.
        classes: the number of outputs, which is that of the labels, or 1 where the target is a number.
        function: `module:function`.
        settings: further keyword arguments.
        tokens: whether rows are tokens (int64) instead of floating-point numbers.

    Returns:
        A module from `[batch, *input_shape]` to outputs `[batch, classes]`.

    Raises:
        StudyError: there is no such function, it fails (as on settings that it does not take), or it returns no torch
            module. Or its module does not map two rows to `[2, classes]`, or draws random numbers while training.
    """
    where = f"model.function {function!r}"
    module = _call(load_function(function, "model.function"), tuple(input_shape), classes, settings, where)
    if not isinstance(module, nn.Module):
        raise StudyError(f"{where}: must return a torch.nn.Module, but returned a {type(module).__name__}")
    write_out_recurrent(module)
    _try_out(module, tuple(input_shape), classes, where, tokens)
    return module


def _call(
    make: Callable[..., Any],
    input_shape: tuple[int, ...],
    classes: int,
    settings: Mapping[str, Any],
    where: str,
) -> Any:
    try:
        return make(input_shape=input_shape, classes=classes, **settings)
    except Exception as error:
        given = ", ".join(["input_shape", "classes", *settings])
        raise StudyError(f"{where}: fails when called with {given}: {_brief(error)}") from error


def _try_out(module: nn.Module, input_shape: tuple[int, ...], classes: int, where: str, tokens: bool) -> None:
    """Passes two rows through the module in evaluation mode, and through a copy in training mode."""
    kind = next((value.dtype for value in module.parameters() if value.is_floating_point()), torch.float32)
    rows = torch.zeros(2, *input_shape, dtype=torch.int64 if tokens else kind)
    with torch.no_grad():
        _output(module, False, rows, classes, where)  # on the module itself: lazy layers take shape
        before = torch.get_rng_state()
        _output(copy.deepcopy(module), True, rows, classes, where)
    module.train()
    if not torch.equal(before, torch.get_rng_state()):
        raise StudyError(
            f"{where}: its network draws random numbers while training (dropout?), from no named stream; "
            "build it without"
        )


def _output(module: nn.Module, training: bool, rows: Tensor, classes: int, where: str) -> None:
    mode = "training" if training else "evaluation"
    try:
        out = module.train(training)(rows)
    except Exception as error:
        raise StudyError(
            f"{where}: its network fails on input of shape {list(rows.shape)} in {mode} mode: {_brief(error)}"
        ) from error
    shape = list(out.shape) if isinstance(out, Tensor) else f"a {type(out).__name__}"
    if shape != [2, classes]:
        raise StudyError(
            f"{where}: its network must map {list(rows.shape)} to logits of shape {[2, classes]}, "
            f"but gives {shape} in {mode} mode"
        )


def _brief(error: Exception) -> str:
    """Returns the kind of error and the first line of its message. The full error stays as the cause."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
