"""Losses and optimisers of one's own: what keeps the contract is taken, what breaks it is refused in a line."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from accord.core.errors import StudyError
from accord.core.params import Params, add, zeros_like
from accord.program.custom_parts import check_loss, check_optimizer, custom_loss, custom_optimizer
from accord.program.optimizers import Optimizer, OptimizerState, adam, adamw, sgd


def focal(outputs: Tensor, y: Tensor, gamma: float = 2.0) -> Tensor:
    """Lin et al. 2017."""
    losses = F.cross_entropy(outputs, y, reduction="none")
    return (1 - torch.exp(-losses)) ** gamma * losses


def mean(outputs: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(outputs, y)


def centred(outputs: Tensor, y: Tensor) -> Tensor:
    """Each row's loss depends on all rows' outputs."""
    return F.cross_entropy(outputs - outputs.mean(0), y, reduction="none")


def ranked(outputs: Tensor, y: Tensor) -> Tensor:
    """A row's loss depends on where it stands."""
    return F.cross_entropy(outputs, y, reduction="none") * torch.arange(1, len(y) + 1)


def noisy(outputs: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(outputs, y, reduction="none") + 0 * y + torch.rand(())


def infinite(outputs: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(outputs, y, reduction="none") / 0


def test_a_loss_of_each_row_by_itself_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "my_losses", sys.modules[__name__])
    loss = custom_loss("my_losses:focal", {"gamma": 1.0}, 3)
    outputs, y = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 1])
    torch.testing.assert_close(loss(outputs, y), focal(outputs, y, 1.0))
    check_loss(lambda outputs, y: (outputs[:, 0] - y).abs(), 0)
    with pytest.raises(StudyError, match=r"training.loss 'my_losses:focal': fails when it is tried: TypeError"):
        custom_loss("my_losses:focal", {"gama": 1.0}, 3)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (mean, r"one loss a row, \[5\], but gives \[\]"),
        (lambda outputs, y: None, "but gives a NoneType"),
        (centred, "depends on other rows"),
        (ranked, "depends on other rows"),
        (infinite, "must give finite losses"),
        (noisy, "other"),
    ],
)
def test_a_loss_that_privacy_or_padding_would_break_is_refused(loss: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        check_loss(loss, 3)


@pytest.mark.parametrize("optimizer", [sgd(0.1), sgd(0.1, 0.9, 0.1), adam(0.1), adamw(0.1)])
def test_the_built_in_optimisers_keep_the_contract(optimizer: Optimizer) -> None:
    check_optimizer(optimizer)


def plain(params: Params) -> OptimizerState:
    return OptimizerState({}, {}, torch.zeros(()))


def in_place(gradients: Params, state: OptimizerState, params: Params) -> tuple[Params, OptimizerState]:
    return {name: value.sub_(gradients[name]) for name, value in params.items()}, state


def make_hidden() -> Callable[..., Any]:
    hidden: dict[str, Any] = {"velocity": None}

    def update(gradients: Params, state: OptimizerState, params: Params) -> tuple[Params, OptimizerState]:
        velocity = gradients if hidden["velocity"] is None else add(gradients, hidden["velocity"], 0.9)
        hidden["velocity"] = velocity
        return add(params, velocity, -0.1), state

    return update


def forgetful(gradients: Params, state: OptimizerState, params: Params) -> Any:
    return params


def failing(params: Params) -> OptimizerState:
    raise ZeroDivisionError("no")


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (Optimizer(plain, in_place), "changes its arguments"),
        (Optimizer(plain, make_hidden()), "gives other values for the same arguments"),
        (Optimizer(plain, forgetful), r"must return \(params, OptimizerState\)"),
        (Optimizer(plain, lambda g, s, w: ({"weight": w["weight"]}, s)), "names and shapes"),
        (Optimizer(failing, sgd(0.1).update), "ZeroDivisionError"),
    ],
)
def test_an_optimiser_that_is_no_function_of_its_arguments_is_refused(optimizer: Optimizer, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        check_optimizer(optimizer)


def lion(learning_rate: float, beta: float = 0.9, units: tuple[str, ...] = ()) -> Optimizer:
    """Signs of a momentum (after Chen et al. 2023)."""

    def init(params: Params) -> OptimizerState:
        return OptimizerState(zeros_like(params), {}, torch.zeros((), dtype=torch.float64))

    def update(gradients: Params, state: OptimizerState, params: Params) -> tuple[Params, OptimizerState]:
        first = {name: beta * m + (1 - beta) * gradients[name] for name, m in state.first.items()}
        after = {name: value - learning_rate * torch.sign(first[name]) for name, value in params.items()}
        return after, OptimizerState(first, {}, state.steps + 1)

    return Optimizer(init, update, units=units)


def test_an_optimiser_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "my_optimizers", sys.modules[__name__])
    made = custom_optimizer("my_optimizers:lion", 0.5, {"beta": 0.0})
    params = {"w": torch.tensor([1.0, 1.0])}
    after, _ = made.update({"w": torch.tensor([3.0, -0.1])}, made.init(params), params)
    assert after["w"].tolist() == [0.5, 1.5]
    with pytest.raises(StudyError, match="must return an Optimizer, but returned a int"):
        custom_optimizer("my_optimizers:len_of", 0.5, {})


def len_of(learning_rate: float) -> int:
    return 3
