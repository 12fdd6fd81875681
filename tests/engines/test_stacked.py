"""Stacked kernels against plain autograd, client by client: dense, convolution, pooling, activations."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from accord.engines.stacked import Product, Stack, stack_network
from accord.models.build import build

CNN = nn.Sequential(
    nn.Conv2d(2, 3, kernel_size=3, stride=2, padding=1),
    nn.Tanh(),
    nn.MaxPool2d(2, stride=1),
    nn.Conv2d(3, 4, kernel_size=(2, 1), bias=False),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(4 * 2 * 3, 5),
)
MLP = nn.Sequential(nn.Flatten(), nn.Linear(98, 7), nn.ReLU(), nn.Linear(7, 5, bias=False))
TFP = build("tfp_cnn", {}, (1, 28, 28), 5, seed=0)
CASES: list[tuple[nn.Module, tuple[int, ...]]] = [(CNN, (2, 7, 7)), (MLP, (2, 7, 7)), (TFP, (1, 28, 28))]


@pytest.mark.parametrize(("model", "shape"), CASES)
def test_forward_and_gradients_are_autograds(model: nn.Module, shape: tuple[int, ...]) -> None:
    network = stack_network(model, len(shape))
    assert network is not None
    generator = torch.Generator().manual_seed(1)
    clients, batch = 3, 4
    params = [
        {k: v.detach().double() + 0.1 * torch.randn(v.shape, generator=generator) for k, v in model.named_parameters()}
        for _ in range(clients)
    ]
    x = torch.randn(clients, batch, *shape, generator=generator, dtype=torch.float64)
    y = torch.randint(5, (clients, batch), generator=generator)
    stack: Stack = {k: network.enter(k, torch.stack([p[k] for p in params])).contiguous() for k in params[0]}
    logits, kept = network.forward(stack, x)
    g = F.softmax(logits, dim=-1) - F.one_hot(y, 5)
    found: Stack = {}

    def each(product: Product) -> None:
        found[product.weight] = torch.bmm(product.g.transpose(1, 2), product.a)
        if product.bias is not None:
            found[product.bias] = product.g.sum(1)

    network.backward(stack, g, kept, each)
    assert set(found) == set(params[0])
    for c in range(clients):
        leaves = {k: v.clone().requires_grad_() for k, v in params[c].items()}
        expected = torch.func.functional_call(model, leaves, (x[c],))
        torch.testing.assert_close(logits[c], expected, rtol=1e-10, atol=1e-12)
        F.cross_entropy(expected, y[c], reduction="sum").backward()  # type: ignore[no-untyped-call]
        for name, leaf in leaves.items():
            got = network.leave(name, found[name])[c]
            torch.testing.assert_close(got, leaf.grad, rtol=1e-9, atol=1e-11)


def test_layouts_are_inverse() -> None:
    network = stack_network(CNN, 3)
    assert network is not None
    weight = torch.randn(5, 3, 2, 3, 3)
    assert torch.equal(network.leave("0.weight", network.enter("0.weight", weight)), weight)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)
    return model


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    model[0].weight.requires_grad_(False)
    return model


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    return model


class Doubling(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


REFUSED: list[tuple[Any, int]] = [
    (nn.Linear(4, 3), 1),
    (nn.Sequential(nn.Linear(4, 3), nn.GELU()), 1),
    (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Tanh()), 1),
    (nn.Sequential(nn.Conv2d(1, 2, 3, groups=1, dilation=2), nn.Flatten()), 3),
    (nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.Flatten()), 3),
    (nn.Sequential(nn.Linear(4, 3)), 3),
    (nn.Sequential(nn.Conv2d(1, 2, 3)), 3),
    (nn.Sequential(nn.MaxPool2d(2, padding=1), nn.Flatten(), nn.Linear(4, 2)), 3),
    (nn.Sequential(nn.Flatten()), 3),
    (nn.Sequential(Doubling(4, 3)), 1),
    (hooked(), 1),
    (frozen(), 1),
    (tied(), 1),
]


@pytest.mark.parametrize(("model", "axes"), REFUSED)
def test_what_has_no_stacked_form_is_left_to_vmap(model: nn.Module, axes: int) -> None:
    assert stack_network(model, axes) is None
