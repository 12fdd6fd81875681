"""The pure optimisers compute what torch.optim computes."""

from typing import Any

import pytest
import torch

from accord.core.params import Params
from accord.program.optimizers import Optimizer, adam, adamw, sgd

GENERATOR_SEED = 5


def torch_path(kind: Any, options: dict[str, float], gradients: list[Params], start: Params) -> Params:
    values = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = kind(list(values.values()), **options)
    for gradient in gradients:
        for name, value in values.items():
            value.grad = gradient[name].clone()
        optimizer.step()
    return {name: value.detach() for name, value in values.items()}


def our_path(optimizer: Optimizer, gradients: list[Params], start: Params) -> Params:
    params, state = start, optimizer.init(start)
    for gradient in gradients:
        params, state = optimizer.update(gradient, state, params)
    return params


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (sgd(0.1), torch.optim.SGD, {"lr": 0.1}),
        (sgd(0.1, momentum=0.9), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        (sgd(0.1, 0.9, 0.01), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
        (adam(0.01), torch.optim.Adam, {"lr": 0.01}),
        (
            adam(0.01, 0.8, 0.99, 0.1),
            torch.optim.Adam,
            {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1},
        ),
        (adamw(0.01), torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.01}),
        (adamw(0.01, weight_decay=0.0), torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.0}),
        (
            adamw(0.05, 0.8, 0.99, 0.3),
            torch.optim.AdamW,
            {"lr": 0.05, "betas": (0.8, 0.99), "weight_decay": 0.3},
        ),
    ],
)
def test_agrees_with_torch(ours: Optimizer, theirs: Any, options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(GENERATOR_SEED)

    def draw() -> Params:
        return {
            "w": torch.randn(4, 3, generator=generator).double(),
            "b": torch.randn(3, generator=generator).double(),
        }

    start, gradients = draw(), [draw() for _ in range(7)]
    expected = torch_path(theirs, options, gradients, start)
    got = our_path(ours, gradients, start)
    for name in start:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: sgd(0.0), "learning_rate"),
        (lambda: sgd(float("nan")), "learning_rate"),
        (lambda: sgd(0.1, momentum=-1.0), "momentum"),
        (lambda: sgd(0.1, weight_decay=-1.0), "weight_decay"),
        (lambda: adam(0.1, beta1=-0.1), "beta1"),
    ],
)
def test_numbers_out_of_range_are_named(make: Any, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()
