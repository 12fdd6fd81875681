"""Stacked networks against plain autograd, client by client; layouts; what is left to vmap."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord.core.streams import stream
from accord.engines.stacked import layers as stacked_layers
from accord.engines.stacked.layer_gradients import LayerGradient, Stack
from accord.engines.stacked.network import StackedNetwork, stack_network
from accord.models.build import build
from accord.privacy import noise

CNN = nn.Sequential(
    nn.Conv2d(2, 3, kernel_size=3, stride=2, padding=1),
    nn.Tanh(),
    nn.MaxPool2d(2, stride=1),
    nn.Conv2d(3, 4, kernel_size=(2, 1), bias=False),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(4 * 2 * 3, 5),
)
FOLDED = nn.Sequential(  # strides that divide the kernel, an edge no kernel reaches, unequal axes
    nn.Conv2d(2, 3, kernel_size=(4, 2), stride=2, padding=(1, 0)),
    nn.ReLU(),
    nn.Conv2d(3, 4, kernel_size=(2, 3), stride=(2, 3)),
    nn.Flatten(),
    nn.Linear(4, 5),
)
MLP = nn.Sequential(nn.Flatten(), nn.Linear(98, 7), nn.ReLU(), nn.Linear(7, 5, bias=False))
NORMED = nn.Sequential(
    nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(100, 6), nn.LayerNorm(6),
    nn.Tanh(), nn.GroupNorm(3, 6), nn.Linear(6, 5),
)  # fmt: skip
TEXT = nn.Sequential(nn.Embedding(11, 4), nn.LayerNorm(4), nn.Linear(4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 5))
RELU = nn.ReLU()
SHARED = nn.Sequential(nn.Flatten(), nn.Linear(98, 6), RELU, nn.Linear(6, 4), RELU, nn.Linear(4, 5))
TFP = build("tfp_cnn", {}, (1, 28, 28), 5, seed=0)
CASES: list[tuple[nn.Module, tuple[int, ...]]] = [
    (CNN, (2, 7, 7)),
    (FOLDED, (2, 7, 7)),
    (MLP, (2, 7, 7)),
    (SHARED, (2, 7, 7)),
    (NORMED, (2, 7, 7)),
    (TEXT, (6,)),
    (TFP, (1, 28, 28)),
]
CLIENTS, BATCH = 3, 4


def inputs(model: nn.Module, shape: tuple[int, ...]) -> tuple[list[Stack], Tensor, Tensor]:
    """Three clients' different parameters, their rows and labels."""
    generator = torch.Generator().manual_seed(1)
    params = [
        {k: v.detach().double() + 0.1 * torch.randn(v.shape, generator=generator) for k, v in model.named_parameters()}
        for _ in range(CLIENTS)
    ]
    if model is TEXT:
        x = torch.randint(11, (CLIENTS, BATCH, *shape), generator=generator)
    else:
        x = torch.randn(CLIENTS, BATCH, *shape, generator=generator, dtype=torch.float64)
    return params, x, torch.randint(5, (CLIENTS, BATCH), generator=generator)


def network_of(model: nn.Module, shape: tuple[int, ...], *, by_sample: bool = False) -> StackedNetwork:
    network = stack_network(model, len(shape), by_sample=by_sample)
    assert network is not None
    return network


def parts_of(network: StackedNetwork, stack: Stack, x: Tensor, y: Tensor) -> tuple[Tensor, list[LayerGradient]]:
    logits, kept = network.forward(stack, x.clone())
    parts: list[LayerGradient] = []
    network.backward(stack, F.softmax(logits, dim=-1) - F.one_hot(y, 5), kept, parts.append)
    return logits, parts


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize(("model", "shape"), CASES)
def test_forward_and_gradients_are_autograds(
    model: nn.Module, shape: tuple[int, ...], large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for small layers and as for large ones: the sums, and the descent that never forms them."""
    monkeypatch.setattr(stacked_layers, "_PATCH_BYTES", 0 if large else 2**20)
    monkeypatch.setattr(stacked_layers, "_LARGE_WEIGHT", 0 if large else 2**19)
    network = network_of(model, shape)
    params, x, y = inputs(model, shape)
    stack = network.enter({k: torch.stack([p[k] for p in params]) for k in params[0]})
    logits, parts = parts_of(network, stack, x, y)
    sums = {name: torch.zeros_like(value) for name, value in stack.items()}
    fallen = {name: value.clone() for name, value in stack.items()}
    for part in parts:
        for name, value in part.sums().items():
            sums[name].add_(value)
        part.sgd_step_(fallen, 0.5)
    for name, value in stack.items():
        torch.testing.assert_close(fallen[name], value - 0.5 * sums[name], rtol=1e-10, atol=1e-12)
    found = network.leave(sums)
    assert list(found) == list(params[0])
    for c in range(CLIENTS):
        leaves = {k: v.clone().requires_grad_() for k, v in params[c].items()}
        expected = torch.func.functional_call(model, leaves, (x[c],))
        torch.testing.assert_close(logits[c], expected, rtol=1e-10, atol=1e-12)
        F.cross_entropy(expected, y[c], reduction="sum").backward()  # type: ignore[no-untyped-call]
        for name, leaf in leaves.items():
            torch.testing.assert_close(found[name][c], leaf.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("model", "shape"), CASES)
def test_per_sample_norms_and_weighted_sums_are_autograds(model: nn.Module, shape: tuple[int, ...]) -> None:
    network = network_of(model, shape, by_sample=True)
    params, x, y = inputs(model, shape)
    stack = network.enter({k: torch.stack([p[k] for p in params]) for k in params[0]})
    _, parts = parts_of(network, stack, x, y)
    factor = torch.rand(CLIENTS, BATCH, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    squares = torch.stack([part.squares() for part in parts]).sum(0)
    sums = {name: torch.zeros_like(value) for name, value in stack.items()}
    for part in parts:
        part.weighted(factor).sgd_step_(sums, -1.0)
    found = network.leave(sums)
    for c in range(CLIENTS):
        expected = {k: torch.zeros_like(v) for k, v in params[c].items()}
        for s in range(BATCH):
            leaves = {k: v.clone().requires_grad_() for k, v in params[c].items()}
            logits = torch.func.functional_call(model, leaves, (x[c, s : s + 1],))
            F.cross_entropy(logits, y[c, s : s + 1]).backward()  # type: ignore[no-untyped-call]
            square = torch.zeros((), dtype=torch.float64)
            for name, leaf in leaves.items():
                assert leaf.grad is not None
                square = square + leaf.grad.square().sum()
                expected[name] += factor[c, s] * leaf.grad
            torch.testing.assert_close(squares[c, s], square, rtol=1e-9, atol=1e-12)
        for name, value in expected.items():
            torch.testing.assert_close(found[name][c], value, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("model", "shape"), CASES)
def test_the_layout_is_undone(model: nn.Module, shape: tuple[int, ...]) -> None:
    network = network_of(model, shape)
    params = {k: torch.randn(2, *v.shape) for k, v in model.named_parameters()}
    stack = network.enter(params)
    assert sum(value[0].numel() for value in stack.values()) == network.numbers
    left = network.leave(stack)
    assert list(left) == list(params)
    assert all(torch.equal(left[k], v) for k, v in params.items())


@pytest.mark.parametrize(("model", "shape"), CASES)
def test_draws_reach_the_parameters_they_reach_elsewhere(model: nn.Module, shape: tuple[int, ...]) -> None:
    network = network_of(model, shape)
    zeros = {k: torch.zeros_like(v) for k, v in model.named_parameters()}
    expected = noise.noised(zeros, noise.gaussian(stream(1, "noise"), zeros, 1.0), 1.0)
    stack = network.enter({k: torch.zeros(2, *v.shape) for k, v in model.named_parameters()})
    views = network.in_noise_order(stack)
    noise.add_rounded([stream(1, "noise")], [views[name][1:] for name in network.shapes], 1.0)
    got = network.leave(stack)
    assert all(torch.equal(got[k][1], v) and not got[k][0].any() for k, v in expected.items())


def test_a_token_outside_the_table_is_refused() -> None:
    """The next client's rows lie there."""
    network = network_of(TEXT, (6,))
    params, x, _ = inputs(TEXT, (6,))
    stack = network.enter({k: torch.stack([p[k] for p in params]) for k in params[0]})
    for wrong in (-1, 11):
        x[1, 2, 3] = wrong
        with pytest.raises(IndexError, match="outside the embedding's 11 rows"):
            network.forward(stack, x)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)
    return model


def hooked_backward() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].register_full_backward_pre_hook(lambda module, gradient: None)
    return model


def other_forward() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].forward = lambda x: 2 * x[..., :3]
    return model


def parameter_of_its_own() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3))
    model[0].register_parameter("scale", nn.Parameter(torch.ones(())))
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
    (nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(18, 2)), 3),
    (nn.Sequential(nn.Linear(4, 3)), 3),
    (nn.Sequential(nn.Conv2d(1, 2, 3)), 3),
    (nn.Sequential(nn.MaxPool2d(2, padding=1), nn.Flatten(), nn.Linear(4, 2)), 3),
    (nn.Sequential(nn.Flatten()), 3),
    (nn.Sequential(Doubling(4, 3)), 1),
    (nn.Sequential(nn.Embedding(5, 2, padding_idx=0), nn.Flatten(), nn.Linear(4, 2)), 1),
    (nn.Sequential(nn.Embedding(5, 2, max_norm=1.0), nn.Flatten(), nn.Linear(4, 2)), 1),
    (nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 2)), 1),
    (nn.Sequential(nn.LayerNorm([2, 3, 3]), nn.Flatten(), nn.Linear(18, 2)), 3),
    (nn.Sequential(nn.LayerNorm(4, elementwise_affine=False), nn.Linear(4, 2)), 1),
    (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), 1),
    (hooked(), 1),
    (hooked_backward(), 1),
    (other_forward(), 1),
    (parameter_of_its_own(), 1),
    (frozen(), 1),
    (tied(), 1),
]


@pytest.mark.parametrize(("model", "axes"), REFUSED)
def test_what_has_no_stacked_form_is_left_to_vmap(model: nn.Module, axes: int) -> None:
    assert stack_network(model, axes) is None
