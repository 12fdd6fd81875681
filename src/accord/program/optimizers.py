"""Local optimisers as pairs of pure functions on `Params`, so that one definition can be looped or vmapped.

torch.optim keeps its state inside and cannot be mapped over clients. These optimisers compute the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from accord.core import params as p
from accord.core.checks import non_negative, positive
from accord.core.params import Params
from accord.privacy.units import UNITS

EVERY_UNIT = tuple(UNITS)
"""Every privacy unit."""


class OptimizerState(NamedTuple):
    """Moments by parameter name (empty dicts where the optimiser keeps none) and the number of steps done, a scalar."""

    first: Params
    second: Params
    steps: Tensor


@dataclass(frozen=True)
class Optimizer:
    """An optimiser.

    Attributes:
        init: maps trainable params to the state before the first step.
        update: maps (gradients, state, params) to (new params, new state), all of the same shapes.
        plain_rate: the learning rate if an update is exactly params - rate * gradients, so that an engine may fuse the
            two. None otherwise.
        elementwise: whether each number of an update depends only on the same number of its arguments, so that an
            engine may stack clients and move axes.
        units: privacy units that the optimiser composes with. All others are refused. An optimiser composes with every
            unit if its update depends only on its arguments, since its gradients are already clipped and noised.
    """

    init: Callable[[Params], OptimizerState]
    update: Callable[[Params, OptimizerState, Params], tuple[Params, OptimizerState]]
    plain_rate: float | None = None
    elementwise: bool = False
    units: tuple[str, ...] = ()


def _steps(params: Params) -> Tensor:
    # A tensor, so that vmap can map it over clients. float64 keeps beta**steps accurate for long runs.
    return torch.zeros((), dtype=torch.float64, device=next(iter(params.values())).device)


def sgd(learning_rate: float, momentum: float = 0.0, weight_decay: float = 0.0) -> Optimizer:
    """Stochastic gradient descent as torch.optim.SGD.

    The update is m <- momentum m + g + weight_decay w, then w <- w - lr m.

    Args:
        learning_rate: > 0.
        momentum: heavy-ball momentum (Polyak 1964) without dampening, >= 0.
        weight_decay: >= 0.

    >>> step = sgd(0.5)
    >>> w = {"w": torch.tensor([1.0])}
    >>> step.update({"w": torch.tensor([1.0])}, step.init(w), w)[0]
    {'w': tensor([0.5000])}
    """
    positive(learning_rate=learning_rate)
    non_negative(momentum=momentum, weight_decay=weight_decay)

    def init(params: Params) -> OptimizerState:
        # Zeros make the first step's momentum buffer the gradient itself, as in torch.optim.SGD.
        return OptimizerState(p.zeros_like(params) if momentum else {}, {}, _steps(params))

    def update(gradients: Params, state: OptimizerState, params: Params) -> tuple[Params, OptimizerState]:
        if weight_decay:
            gradients = p.add(gradients, params, weight_decay)
        if momentum:
            gradients = p.add(gradients, state.first, momentum)
        first = gradients if momentum else {}
        return p.add(params, gradients, -learning_rate), OptimizerState(first, {}, state.steps + 1)

    return Optimizer(init, update, None if momentum or weight_decay else learning_rate, True, EVERY_UNIT)


def adam(
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.0,
    eps: float = 1e-8,
) -> Optimizer:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980, Algorithm 1) with an L2 penalty, as torch.optim.Adam.

    Args:
        learning_rate: > 0.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        weight_decay: the factor of an L2 penalty that is added to the gradient, >= 0.
        eps: added to the root of the second moment.
    """
    return _adam(learning_rate, beta1, beta2, weight_decay, eps, decoupled=False)


def adamw(
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.01,
    eps: float = 1e-8,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101, Algorithm 2), as torch.optim.AdamW.

    Arguments are those of `adam`. Parameters shrink by learning_rate * weight_decay before each step, and the moments
    do not include the decay.
    """
    return _adam(learning_rate, beta1, beta2, weight_decay, eps, decoupled=True)


def _adam(
    learning_rate: float, beta1: float, beta2: float, weight_decay: float, eps: float, *, decoupled: bool
) -> Optimizer:
    positive(learning_rate=learning_rate, eps=eps)
    non_negative(beta1=beta1, beta2=beta2, weight_decay=weight_decay)

    def init(params: Params) -> OptimizerState:
        return OptimizerState(p.zeros_like(params), p.zeros_like(params), _steps(params))

    def update(gradients: Params, state: OptimizerState, params: Params) -> tuple[Params, OptimizerState]:
        steps = state.steps + 1
        # Before the step, in the order of torch.optim.AdamW.
        if weight_decay and decoupled:
            params = p.multiply(params, 1 - learning_rate * weight_decay)
        elif weight_decay:
            gradients = p.add(gradients, params, weight_decay)
        first = p.add(p.multiply(state.first, beta1), gradients, 1 - beta1)
        second = {k: beta2 * state.second[k] + (1 - beta2) * gradients[k].square() for k in gradients}
        bias1, bias2 = 1 - beta1**steps, 1 - beta2**steps
        new = {}
        for k, value in params.items():
            # eps is added after the root and the bias correction, as in torch.optim.
            root = (second[k] / bias2.to(value.dtype)).sqrt() + eps
            new[k] = value - learning_rate * (first[k] / bias1.to(value.dtype)) / root
        return new, OptimizerState(first, second, steps)

    return Optimizer(init, update, None, True, EVERY_UNIT)
