"""Which networks have a compiled form, and how their parameters and draws are laid."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from accord.engines.compiled.network import FLAT, CompiledNetwork, compile_network
from accord.engines.stacked.network import stack_network
from accord.privacy import noise
from accord.tasks.task import Task


def form(model: nn.Module, shape: tuple[int, ...], classes: int = 3) -> CompiledNetwork | None:
    stacked = stack_network(model, len(shape), by_sample=True)
    assert stacked is not None
    return compile_network(stacked, shape, classes, by_sample=True)


def images() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 30, 70), nn.ReLU(),
                         nn.Linear(70, 3))  # fmt: skip


def test_parameters_come_back_as_they_went_in() -> None:
    network = form(images(), (2, 5, 6))
    assert network is not None
    params = {name: torch.randn(4, *shape) for name, shape in network.shapes.items()}
    stack = network.enter(params)
    assert stack[FLAT].shape == (4, network.numbers)
    left = network.leave(stack)
    assert list(left) == list(params)
    assert all(torch.equal(left[name], params[name]) for name in params)


def test_draws_lie_as_those_of_the_one_mechanism() -> None:
    """`noise.gaussian`'s draws, laid by `draws`, are what it gives by name."""
    model = images()
    network = form(model, (2, 5, 6))
    assert network is not None
    drawn = noise.gaussian(np.random.default_rng(3), Task(model, 3).init(), 1.0)
    flat = torch.zeros(1, network.numbers)
    tensors, place = network.draws
    for (begin, count, known), value in zip(tensors.tolist(), drawn.values(), strict=True):
        in_order = (value.movedim(0, -1) if value.dim() else value).reshape(-1)
        if known < 0:
            flat[0, begin : begin + count] = in_order
        else:
            flat[0, torch.from_numpy(place[known : known + count])] = in_order
    left = network.leave({FLAT: flat})
    assert all(torch.equal(left[name][0], value) for name, value in drawn.items())
    assert {known < 0 for _, _, known in tensors.tolist()} == {True, False}


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3)), (4,)),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 100), nn.Linear(100, 3)),
         (1, 28, 28)),
        (lambda: nn.Sequential(nn.Linear(5, 3)), (4,)),
        (lambda: nn.Sequential(nn.Linear(4, 2)), (4,)),
        (lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(8, 3)), (1, 2, 2)),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(8, 3)), (1, 2, 2)),
        (lambda: nn.Sequential(nn.MaxPool2d(5), nn.Flatten(), nn.Linear(8, 3)), (1, 2, 2)),
    ],
    ids=["norm", "large", "width", "classes", "channels", "kernel", "window"],
)  # fmt: skip
def test_compiled_code_checks_no_bounds_so_what_does_not_fit_has_no_form(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    assert form(make(), shape) is None


def test_memory_is_bounded_by_the_rows_at_once() -> None:
    network = form(nn.Sequential(nn.Linear(1000, 500), nn.ReLU(), nn.Linear(500, 3)), (1000,))
    assert network is not None
    assert 1 < network.micro * network.sizes[0] * 4 <= 2**24


def test_a_convolutions_product_stays_within_a_million_multiplications() -> None:
    """Two convolutions, of 576 patches of 25 by 8 and of 100 patches of 72 by 12. The larger product counts."""
    layers = (nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3), nn.Flatten(), nn.Linear(1200, 3))
    network = form(nn.Sequential(*layers), (1, 28, 28))
    assert network is not None
    assert network.micro == 1_000_000 // max(24 * 24 * 25 * 8, 10 * 10 * 72 * 12)


def test_each_region_has_the_room_it_needs() -> None:
    """Of a sample, counted by hand: a region that is too small would run over into the next."""
    layers = (nn.Conv2d(2, 3, (3, 2), padding=(1, 2)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 3))
    network = form(nn.Sequential(*layers), (2, 5, 6))
    assert network is not None
    places, depth = 5 * 9, 2 * 3 * 2
    images = 2 * (2 * 5 * 6) + 2 * (places * 3) + 2 * (2 * 4 * 3)  # each with its gradient
    convolution = places * depth + (5 + 2) * (6 + 4) * 2 + (depth + 1) * 3  # patches, padded input, gradient
    flat = 2 * 24 + 2 * 3
    assert network.sizes.tolist() == [images + convolution + flat, 2 * 4 * 3]
