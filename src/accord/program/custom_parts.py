"""User-defined losses and optimisers, which are loaded by name and tried before anything starts.

The trials check what the rest of Accord relies on. A loss must be computed for each row by itself. Clipping by sample
bounds one row's influence only if no other row's loss depends on it, and padding rows would enter a loss that mixes
rows. An optimiser must be a function of its arguments, whose state is passed in and returned, so that clients can be
stacked.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accord.core.errors import StudyError
from accord.core.params import Params
from accord.core.plugins import load_function
from accord.core.streams import stream
from accord.program.optimizers import Optimizer, OptimizerState
from accord.tasks.task import Loss

_ROWS = 5


def custom_loss(name: str, settings: Mapping[str, Any], classes: int) -> Loss:
    """Loads the loss `function(outputs, targets, **settings)`, from `[batch, classes]` and `[batch]` to `[batch]`.

    Args:
        name: `module:function`.
        settings: further keyword arguments.
        classes: the number of labels, or 0 where targets are numbers.

    Raises:
        StudyError: the loss fails, gives no finite number for each row, mixes rows, remembers rows or draws random
            numbers.
    """
    where = f"training.loss {name!r}"
    loss: Loss = partial(load_function(name, "training.loss"), **settings)
    check_loss(loss, classes, where)
    return loss


def check_loss(loss: Loss, classes: int, where: str = "loss") -> None:
    """Refuses a loss that is not computed for each row by itself. This is found by trial, not by proof.

    Args:
        loss: the loss to try.
        classes: the number of labels, or 0 where targets are numbers.
        where: the loss's name in messages.

    Raises:
        StudyError: as for `custom_loss`.
    """
    # A fixed stream, so that a loss passes or fails in the same way every time.
    rng = stream(0, "custom loss")
    outputs, y = _outputs(rng, classes)
    other, other_y = _outputs(rng, classes)
    value = _try(where, lambda: loss(outputs, y))
    if not isinstance(value, Tensor) or value.shape != (_ROWS,):
        got = list(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise StudyError(
            f"{where}: must map outputs {list(outputs.shape)} and targets {[_ROWS]} to one loss a row, {[_ROWS]}, but "
            f"gives {got}"
        )
    if not bool(value.isfinite().all()):
        raise StudyError(f"{where}: must give finite losses, but gives {value[~value.isfinite()][0]}")
    for row in range(_ROWS):
        row_loss = _try(where, lambda row=row: loss(outputs[row : row + 1], y[row : row + 1]))
        # The same row at another position among other rows must have the same loss.
        mixed = torch.cat([other, outputs[row : row + 1]]), torch.cat([other_y, y[row : row + 1]])
        among = _try(where, lambda mixed=mixed: loss(*mixed))
        # Close, not equal, since batches of other sizes may round differently.
        if not (torch.allclose(row_loss[0], value[row]) and torch.allclose(among[-1], value[row])):
            raise StudyError(
                f"{where}: a row's loss depends on other rows; privacy and padding need the loss of each row by itself"
            )
    if not torch.equal(value, loss(outputs, y)):
        raise StudyError(f"{where}: gives other losses for the same rows; it must draw nothing and remember nothing")


def loss_trial(loss: Loss, classes: int) -> Tensor:
    """The loss of the rows that `check_loss` tries, shape `[rows]`: what a loss does, whatever it reads."""
    outputs, y = _outputs(stream(0, "custom loss"), classes)
    value: Tensor = _try("training.loss", lambda: loss(outputs, y))
    return value.detach()


def custom_optimizer(name: str, learning_rate: float, settings: Mapping[str, Any]) -> Optimizer:
    """Loads the optimiser that `function(learning_rate, **settings)` returns.

    Raises:
        StudyError: it fails, returns no `Optimizer`, changes its arguments or gives other values for equal ones.
    """
    where = f"training.optimizer {name!r}"
    make = load_function(name, "training.optimizer")
    optimizer = _try(where, lambda: make(learning_rate, **settings))
    if not isinstance(optimizer, Optimizer):
        raise StudyError(f"{where}: must return an Optimizer, but returned a {type(optimizer).__name__}")
    check_optimizer(optimizer, where)
    return optimizer


def check_optimizer(optimizer: Optimizer, where: str = "optimizer") -> None:
    """Refuses an optimiser that is not a function of its arguments. This is found by a trial of three steps.

    Args:
        optimizer: the optimiser to try.
        where: its name in messages.

    Raises:
        StudyError: as for `custom_optimizer`.
    """
    params, gradients = _trial_steps()
    before = _copies(params), [_copies(each) for each in gradients]
    first = _steps(optimizer, params, gradients, where)
    if not _same(params, before[0]) or not all(map(_same, gradients, before[1])):
        raise StudyError(f"{where}: changes its arguments; it must return new tensors")
    if {key: value.shape for key, value in first.items()} != {key: value.shape for key, value in params.items()}:
        raise StudyError(f"{where}: must return parameters of the names and shapes that it was given")
    # Both runs start from `init`, so they can only differ by state that the optimiser keeps inside, or by random draws.
    if not _same(first, _steps(optimizer, params, gradients, where)):
        raise StudyError(f"{where}: gives other values for the same arguments; its state must go in and come out")


def optimizer_trial(optimizer: Optimizer) -> Params:
    """The parameters after the steps that `check_optimizer` tries: what an optimiser does, whatever it reads."""
    return _steps(optimizer, *_trial_steps(), "training.optimizer")


def _trial_steps() -> tuple[Params, list[Params]]:
    """Parameters and the gradients of three steps."""
    rng = stream(0, "custom optimizer")
    shapes = {"weight": (3, 2), "bias": (3,)}
    params = {key: torch.from_numpy(rng.standard_normal(shape)) for key, shape in shapes.items()}
    gradients = [{key: torch.from_numpy(rng.standard_normal(shape)) for key, shape in shapes.items()} for _ in range(3)]
    return params, gradients


def _steps(optimizer: Optimizer, params: Params, gradients: list[Params], where: str) -> Params:
    state = _try(where, lambda: optimizer.init(params))
    for each in gradients:
        result = _try(where, lambda each=each, params=params, state=state: optimizer.update(each, state, params))
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], OptimizerState)):
            raise StudyError(f"{where}: update must return (params, OptimizerState)")
        params, state = result
    return params


def _outputs(rng: np.random.Generator, classes: int) -> tuple[Tensor, Tensor]:
    outputs = torch.from_numpy(rng.standard_normal((_ROWS, classes or 1)))
    if classes:
        return outputs, torch.from_numpy(rng.integers(0, classes, _ROWS))
    return outputs, torch.from_numpy(rng.standard_normal(_ROWS))


def _copies(params: Params) -> Params:
    return {name: value.clone() for name, value in params.items()}


def _same(a: Params, b: Params) -> bool:
    return all(torch.equal(value, b[name]) for name, value in a.items())


def _try(where: str, call: Any) -> Any:
    try:
        return call()
    except StudyError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise StudyError(f"{where}: fails when it is tried: {reason}") from error
