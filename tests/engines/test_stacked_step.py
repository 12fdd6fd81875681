"""A kernel step is the mapped step, plain and private, fused or not, with padding and poison."""

from typing import Any

import pytest
import torch
from torch import nn

from accord.engines.stacked import Stack, stack_network
from accord.engines.stacked_step import KernelStep, mapped_step
from accord.errors import PrivacyError
from accord.program import local
from accord.program.local import Batch, ClientWork
from accord.program.optimizers import sgd
from accord.task import Task
from engines.contract import make_work

SHAPE = (2, 6, 6)


def cnn_work(unit: str | None) -> ClientWork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(75, 4)]
        task = Task(nn.Sequential(*layers), 4)
    options: dict[str, Any] = {"optimizer": sgd(0.3)}
    return make_work(task, unit, **options)


def batches(clients: int = 3, width: int = 5, poison: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(clients, width, *SHAPE, generator=generator, dtype=torch.float64)
    if poison:
        x[1, 2] = float("nan")
    weight = torch.ones(clients, width, dtype=torch.float64)
    weight[0, 3:] = 0.0
    x[0, 3:] = 0.0
    return Batch(x, torch.randint(4, (clients, width), generator=generator), weight)


def both(unit: str | None, batch: Batch) -> tuple[Stack, Stack, Stack]:
    """After one step: mapped, fused, and by gradients; each from the same start with the same noise."""
    work = cnn_work(unit)
    network = stack_network(work.task.model, 3)
    assert network is not None
    shared, clients = work.task.init(torch.float64), len(batch.y)
    generator = torch.Generator().manual_seed(5)
    noise = None
    if unit is not None:
        noise = {k: torch.randn(clients, *v.shape, generator=generator, dtype=torch.float64) for k, v in shared.items()}
    divisors = torch.full((clients,), local.divisor(work, 40), dtype=torch.float64)
    state = torch.utils._pytree.tree_map(
        lambda leaf: leaf.expand(clients, *leaf.shape).clone(), local.start(work, shared)
    )
    mapped = mapped_step(work, state, batch, divisors, noise).trainable
    step = KernelStep(work, network)
    own = None if noise is None else {k: network.enter(k, v) for k, v in noise.items()}
    start = {k: network.enter(k, v.expand(clients, *v.shape)).contiguous().clone() for k, v in shared.items()}
    gradients = step.gradients(start, batch, divisors, own)
    by_hand = {k: network.leave(k, v - 0.3 * gradients[k]) for k, v in start.items()}
    if unit == "batch":
        return mapped, by_hand, by_hand
    step.fused(start, batch, divisors, own)
    return mapped, {k: network.leave(k, v) for k, v in start.items()}, by_hand


@pytest.mark.parametrize("unit", [None, "sample", "batch"])
def test_kernels_are_the_mapped_step(unit: str | None) -> None:
    mapped, fused, by_hand = both(unit, batches())
    for name, value in mapped.items():
        torch.testing.assert_close(fused[name], value, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(by_hand[name], value, rtol=1e-9, atol=1e-12)


def test_a_poisoned_sample_is_dropped_as_in_the_mapped_step() -> None:
    mapped, fused, _ = both("sample", batches(poison=True))
    for name, value in mapped.items():
        assert bool(fused[name].isfinite().all())
        torch.testing.assert_close(fused[name], value, rtol=1e-9, atol=1e-12)


def test_noise_cannot_be_left_out() -> None:
    work = cnn_work("sample")
    network = stack_network(work.task.model, 3)
    assert network is not None
    shared = work.task.init(torch.float64)
    stack = {k: network.enter(k, v.expand(3, *v.shape)).contiguous().clone() for k, v in shared.items()}
    step, divisors = KernelStep(work, network), torch.full((3,), 8.0, dtype=torch.float64)
    with pytest.raises(PrivacyError, match="a step came without"):
        step.fused(stack, batches(), divisors, None)
    with pytest.raises(PrivacyError, match="a step came without"):
        step.gradients(stack, batches(), divisors, None)
    batch_step = KernelStep(cnn_work("batch"), network)
    with pytest.raises(PrivacyError, match="only plain SGD"):
        batch_step.fused(stack, batches(), divisors, stack)
    with pytest.raises(PrivacyError, match="a step came without"):
        batch_step.gradients(stack, batches(), None, None)
