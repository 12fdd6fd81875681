"""A kernel step is the mapped step, plain and private, fused or not, with padding and poison; and what it costs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from accord.core import params as p
from accord.core.errors import PrivacyError
from accord.core.params import Params
from accord.engines.stacked import step as stacked_step
from accord.engines.stacked.layer_gradients import BySample, Lookup, Product, Stack
from accord.engines.stacked.network import StackedNetwork, stack_network
from accord.engines.stacked.step import Draw, KernelStep, StackedBatch, mapped_step
from accord.privacy import rounding
from accord.program import local
from accord.program.local import Batch, ClientWork
from accord.program.optimizers import sgd
from accord.tasks.task import Task
from engines.contract import make_work

SHAPE = (2, 6, 6)
CNN = (nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(75, 4))
MLP = (nn.Flatten(), nn.Linear(72, 9), nn.ReLU(), nn.Linear(9, 4))


def work_of(unit: str | None, layers: tuple[nn.Module, ...] = CNN) -> ClientWork:
    options: dict[str, Any] = {"optimizer": sgd(0.3)}
    return make_work(Task(nn.Sequential(*layers), 4), unit, **options)


def network_of(work: ClientWork) -> StackedNetwork:
    plan = work.local_plan
    network = stack_network(work.task.model, 3, by_sample=plan is not None and plan.unit == "sample")
    assert network is not None
    return network


def batches(clients: int = 3, width: int = 5, poison: bool = False, padded: bool = True) -> StackedBatch:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(clients, width, *SHAPE, generator=generator, dtype=torch.float64)
    if poison:
        x[1, 2] = float("nan")
    weight = None
    if padded:
        weight = torch.ones(clients, width, dtype=torch.float64)
        weight[0, 3:] = 0.0
        x[0, 3:] = 0.0
    return StackedBatch(x, torch.randint(4, (clients, width, 1), generator=generator), weight)


def drawn(network: StackedNetwork, noise: Params | None) -> Draw | None:
    """Noise of the mapped step as a kernel step draws it, of standard deviation 1."""
    if noise is None:
        return None
    normals = network.in_noise_order(network.enter(noise))

    def draw(sums: Sequence[Tensor], std: float) -> None:
        for name, value in zip(network.shapes, sums, strict=True):
            value.copy_(rounding.released(value, std * normals[name], std))

    return draw


def nothing(sums: Sequence[Tensor], std: float) -> None:
    """Noise of 0."""


def both(unit: str | None, batch: StackedBatch, micro: int = 2**31, pieces: int = 1) -> tuple[Params, Params, Params]:
    """After one step: mapped, fused, and by gradients; each from the same start with the same noise."""
    work = work_of(unit)
    network = network_of(work)
    shared, clients = work.task.init(torch.float64), len(batch.y)
    generator = torch.Generator().manual_seed(5)
    noise, normals = None, None
    if unit is not None:
        normals = {
            k: torch.randn(clients, *v.shape, generator=generator, dtype=torch.float64) for k, v in shared.items()
        }
        assert work.plan is not None
        # Noise multiplier 1 is 1 or 1/2 times the sensitivity. Rounding moves a sum of d numbers by sqrt(d) 2^-20 std.
        ratio = 0.5 if unit == "batch" else 1.0
        std = work.plan.clip_norm / (1 - ratio * p.count(shared) ** 0.5 / 2**20)
        noise = {k: std * value for k, value in normals.items()}
    divisors = [local.divisor(work, 40)] * clients
    state = torch.utils._pytree.tree_map(
        lambda leaf: leaf.expand(clients, *leaf.shape).clone(), local.start(work, shared)
    )
    weight = torch.ones(batch.y.shape[:2], dtype=torch.float64) if batch.weight is None else batch.weight
    plain = Batch(batch.x.clone(), batch.y.squeeze(2), weight)
    mapped = mapped_step(work, state, plain, torch.tensor(divisors, dtype=torch.float64), noise).trainable
    step = KernelStep(work, network, micro, pieces)
    stack = network.enter({k: v.expand(clients, *v.shape) for k, v in shared.items()})
    draw = drawn(network, normals)
    gradients = step.gradients(stack, copied(batch), divisors, draw)
    by_hand = network.leave({k: v - 0.3 * gradients[k] for k, v in stack.items()})
    if unit == "batch":
        return mapped, by_hand, by_hand
    step.fused(stack, copied(batch), divisors, draw)
    return mapped, network.leave(stack), by_hand


def copied(batch: StackedBatch) -> StackedBatch:
    """A step may work in place on its rows."""
    return batch._replace(x=batch.x.clone())


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("unit", [None, "sample", "batch"])
def test_kernels_are_the_mapped_step(unit: str | None, padded: bool) -> None:
    mapped, fused, by_hand = both(unit, batches(padded=padded))
    for name, value in mapped.items():
        torch.testing.assert_close(fused[name], value, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(by_hand[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("micro", "pieces"), [(1, 1), (2, 1), (5, 1), (2**31, 2), (2**31, 3), (2**31, 9)])
def test_cutting_a_batch_changes_nothing(micro: int, pieces: int) -> None:
    """For memory's sake, and for threads to share."""
    mapped, fused, by_hand = both("sample", batches(), micro, pieces)
    for name, value in mapped.items():
        torch.testing.assert_close(fused[name], value, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(by_hand[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("micro", "pieces", "expected"),
    [(15, 1, None), (14, 1, 2), (8, 1, 2), (7, 1, 3), (4, 1, 4), (1, 1, 5), (15, 2, 2), (15, 9, 5)],
)
def test_a_batch_is_cut_into_the_fewest_pieces_that_memory_holds(micro: int, pieces: int, expected: int | None) -> None:
    """Three clients of five rows each; a piece has at least one row of every client."""
    seen: list[int] = []

    def each(run: Callable[[Any], Stack], cut: list[Any]) -> Iterable[Stack]:
        seen.append(len(cut))
        return map(run, cut)

    work = work_of("sample")
    network = network_of(work)
    stack = network.enter({k: v.expand(3, *v.shape) for k, v in work.task.init(torch.float64).items()})
    KernelStep(work, network, micro, pieces, each).fused(stack, batches(), [8.0] * 3, nothing)
    assert seen == ([] if expected is None else [expected])


def test_only_what_has_a_better_form_for_clipping_changes_it() -> None:
    several = Product("w", None, torch.ones(2, 12, 5), torch.ones(2, 12, 6), 3)
    formed = stacked_step._reused(several)
    assert isinstance(formed, BySample)
    assert stacked_step._reused(formed) is formed
    twice = Lookup("w", 4, torch.tensor([[[1, 1]]]), torch.ones(1, 1, 2, 3))
    merged = stacked_step._reused(twice)
    assert isinstance(merged, Lookup)
    assert merged.g[0, 0].tolist() == [[2.0] * 3, [0.0] * 3]


@pytest.mark.parametrize("micro", [2, 2**31])
def test_a_poisoned_sample_is_dropped_as_in_the_mapped_step(micro: int) -> None:
    mapped, fused, _ = both("sample", batches(poison=True), micro=micro)
    for name, value in mapped.items():
        assert bool(fused[name].isfinite().all())
        torch.testing.assert_close(fused[name], value, rtol=1e-9, atol=1e-12)


def test_noise_cannot_be_left_out() -> None:
    work = work_of("sample")
    network = network_of(work)
    stack = network.enter({k: v.expand(3, *v.shape) for k, v in work.task.init(torch.float64).items()})
    batch, divisors = batches(), [8.0] * 3
    before = {k: v.clone() for k, v in stack.items()}
    step = KernelStep(work, network)
    with pytest.raises(PrivacyError, match="a step came without"):
        step.fused(stack, batch, divisors, None)
    with pytest.raises(PrivacyError, match="a step came without"):
        step.gradients(stack, batch, divisors, None)
    batch_step = KernelStep(work_of("batch"), network)
    with pytest.raises(PrivacyError, match="only plain SGD"):
        batch_step.fused(stack, batch, divisors, nothing)
    with pytest.raises(PrivacyError, match="a step came without"):
        batch_step.gradients(stack, batch, None, None)
    assert all(torch.equal(stack[k], v) for k, v in before.items())


def test_rounding_into_the_weights_comes_after_the_noise() -> None:
    """With steps as small as the weights' last bits, only a sum that is not rounded into them first keeps its bound:
    what a step changes before its noise must not depend on the rows."""
    work = work_of("sample", MLP)
    network = network_of(work)
    stack = network.enter({k: v.expand(2, *v.shape) for k, v in work.task.init(torch.float64).items()})
    before = {k: v.clone() for k, v in stack.items()}
    seen: list[bool] = []

    def draw(sums: Sequence[Tensor], std: float) -> None:
        seen.append(all(torch.equal(stack[k], v) for k, v in before.items()))

    KernelStep(work, network).fused(stack, batches(2, padded=False), [8.0] * 2, draw)
    assert seen == [True]
    assert not any(torch.equal(stack[k], v) for k, v in before.items())


class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The operations PyTorch runs, views apart, and the largest tensor any of them makes afresh."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[str] = []
        self.largest = 0
        self.noised: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.kernels.append(str(func))
            if isinstance(out, Tensor) and not func._schema.is_mutable:
                self.largest = max(self.largest, out.numel())
        return out


def counted(unit: str | None, clients: int, width: int = 5) -> Count:
    work = work_of(unit, MLP)
    network = network_of(work)
    stack = network.enter({k: v.expand(clients, *v.shape) for k, v in work.task.init(torch.float64).items()})
    batch = batches(clients, width, padded=False)
    count = Count()

    def noted(sums: Sequence[Tensor], std: float) -> None:
        count.noised.append(len(sums[0]))

    step, draw = KernelStep(work, network), None if unit is None else noted
    step.fused(stack, copied(batch), [8.0] * clients, draw)  # constants are made once
    count.noised.clear()
    with count:
        step.fused(stack, batch, [8.0] * clients, draw)
    return count


def test_a_step_launches_as_many_kernels_for_one_client_as_for_many() -> None:
    assert len(counted(None, 1).kernels) == len(counted(None, 16).kernels) <= 20


def test_a_private_step_adds_a_clients_noise_and_nothing_else() -> None:
    """Once for all; norms and clipping are shared. Eight operations are the noised sum's."""
    one, many = counted("sample", 1), counted("sample", 9)
    assert (one.noised, many.noised) == ([1], [9])
    assert len(many.kernels) == len(one.kernels) <= 60


def test_a_dense_step_forms_no_gradient() -> None:
    """Nothing the step makes is as large as the first layer's weights; a private one makes the noised sum, which is,
    and no per-sample gradients."""
    assert 0 < counted(None, 4, width=2).largest < 4 * 72 * 9
    assert counted("sample", 4, width=2).largest == 4 * 72 * 9
