"""Client work: gradients against naive loops, padding and finished clients exact, privacy that cannot be skipped."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from accord.core import params as p
from accord.core.errors import PrivacyError
from accord.core.params import Params
from accord.core.streams import stream
from accord.privacy.plan import PrivacyPlan
from accord.program import local
from accord.program.local import Batch, ClientWork
from accord.program.optimizers import adam, sgd
from accord.tasks.task import Task
from released import released, widened

N = 40
DIVISOR = 8.0
TINY = 1e-12


def make_work(task: Task, unit: str | None = None, **changes: Any) -> ClientWork:
    plan = None
    if unit is not None:
        sampling: dict[str, Any] = {"sampling": "everyone"} if unit == "client" else {"expected_size": 8}
        options = {"clip_norm": 0.5, "noise_multiplier": 1.0, "delta": 1e-5} | sampling
        plan = PrivacyPlan(unit, **(options | changes.pop("plan", {})))  # type: ignore[arg-type]
    values: dict[str, Any] = {
        "task": task,
        "optimizer": sgd(1.0),
        "batch_size": 8,
        "local_epochs": 1,
        "local_steps": None,
        "plan": plan,
        "dtype": torch.float64,
    }
    return ClientWork(**(values | changes))


def make_batch(width: int = 8, features: int = 5, classes: int = 3, seed: int = 1) -> Batch:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(width, features)))
    return Batch(x, torch.from_numpy(rng.integers(classes, size=width)), torch.ones(width, dtype=torch.float64))


def naive_gradients(task: Task, params: Params, batch: Batch) -> list[Params]:
    """Each row's gradient by plain autograd."""
    rows = []
    for x, y in zip(batch.x, batch.y, strict=True):
        leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
        task.losses(leaves, x[None], y[None]).sum().backward()  # type: ignore[no-untyped-call]
        rows.append({name: value.grad for name, value in leaves.items() if value.grad is not None})
    return rows


def moved(state: local.ClientState, params: Params) -> Params:
    """What an SGD step of learning rate 1 subtracted: the gradient it saw."""
    return p.subtract({name: params[name] for name in state.trainable}, state.trainable)


def test_plain_step_is_the_mean_gradient(task: Callable[..., Task]) -> None:
    work = make_work(task())
    params, batch = work.task.init(torch.float64), make_batch()
    state = local.step(work, local.start(work, params), batch, DIVISOR, None)
    rows = naive_gradients(work.task, params, batch)
    for name, value in moved(state, params).items():
        torch.testing.assert_close(value, sum(r[name] for r in rows) / 8, rtol=1e-10, atol=TINY)


def test_sample_step_is_the_clipped_sum_plus_noise_over_the_expected_batch(task: Callable[..., Task]) -> None:
    work = make_work(task(), "sample")
    params, batch = work.task.init(torch.float64), make_batch(width=11)
    noise = local.step_noise(work, params, stream(3, "noise"))
    assert noise is not None
    state = local.step(work, local.start(work, params), batch, DIVISOR, noise)
    total = p.zeros_like(params)
    for row in naive_gradients(work.task, params, batch):
        total = p.add(total, row, min(1.0, 0.5 / (p.norm(row) * (1 + 1e-5))))
    noised = released(total, noise, widened(0.5, 0.5, p.count(params)))
    for name, value in moved(state, params).items():
        # 8 is the expected batch; 11 rows were drawn.
        torch.testing.assert_close(value, noised[name] / 8, rtol=1e-10, atol=TINY)


def test_batch_step_is_the_clipped_mean_plus_noise(task: Callable[..., Task]) -> None:
    work = make_work(task(), "batch")
    params, batch = work.task.init(torch.float64), make_batch()
    noise = local.step_noise(work, params, stream(3, "noise"))
    assert noise is not None
    state = local.step(work, local.start(work, params), batch, DIVISOR, noise)
    rows = naive_gradients(work.task, params, batch)
    mean = {name: torch.stack([r[name] for r in rows]).sum(0) / 8 for name in params}
    clipped = p.multiply(mean, min(1.0, 0.5 / (p.norm(mean) * (1 + 1e-5))))
    noised = released(clipped, noise, widened(0.5, 1.0, p.count(params)))
    for name, value in moved(state, params).items():
        torch.testing.assert_close(value, noised[name], rtol=1e-10, atol=TINY)


@pytest.mark.parametrize("unit", [None, "sample", "batch"])
@pytest.mark.parametrize("optimizer", [sgd(0.1, 0.9, 0.01), adam(0.01)])
def test_padding_changes_nothing(task: Callable[..., Task], unit: str | None, optimizer: Any) -> None:
    work = make_work(task(), unit, optimizer=optimizer)
    params, batch = work.task.init(torch.float64), make_batch()
    padded = Batch(
        torch.cat([batch.x, torch.full((3, 5), 1e200, dtype=torch.float64)]),
        torch.cat([batch.y, torch.zeros(3, dtype=torch.int64)]),
        torch.cat([batch.weight, torch.zeros(3, dtype=torch.float64)]),
    )
    noise = local.step_noise(work, params, stream(3, "noise"))
    plain, wide = (local.step(work, local.start(work, params), b, DIVISOR, noise) for b in (batch, padded))
    for name in plain.trainable:
        torch.testing.assert_close(wide.trainable[name], plain.trainable[name], rtol=1e-10, atol=TINY)


def test_a_finished_client_stays_as_it_is(task: Callable[..., Task]) -> None:
    work = make_work(task(), optimizer=adam(0.1))
    params = work.task.init(torch.float64)
    before = local.step(work, local.start(work, params), make_batch(), DIVISOR, None)
    after = local.step(work, before, make_batch(seed=2), DIVISOR, None, live=torch.zeros(()))
    assert all(torch.equal(after.trainable[k], before.trainable[k]) for k in before.trainable)
    assert all(torch.equal(after.optimizer.first[k], before.optimizer.first[k]) for k in before.trainable)
    assert float(after.optimizer.steps) == 1


@pytest.mark.parametrize("unit", [None, "sample", "batch"])
def test_a_step_maps_over_clients(task: Callable[..., Task], unit: str | None) -> None:
    """The pattern every stacked engine rests on: vmap(step) is the loop."""
    work = make_work(task(), unit, optimizer=sgd(0.1, 0.9))
    params = work.task.init(torch.float64)
    batches = [make_batch(seed=s) for s in range(3)]
    noises = [local.step_noise(work, params, stream(3, "noise", 1, c)) for c in range(3)]
    one = local.start(work, params)
    loop = [local.step(work, one, b, DIVISOR, z) for b, z in zip(batches, noises, strict=True)]
    stack = torch.utils._pytree.tree_map(lambda *leaves: torch.stack(leaves), one, one, one)
    batch = Batch(*(torch.stack(parts) for parts in zip(*batches, strict=True)))
    if unit is None:
        mapped = torch.func.vmap(lambda s, b: local.step(work, s, b, DIVISOR, None))(stack, batch)
    else:
        noise = {name: torch.stack([z[name] for z in noises if z is not None]) for name in params}
        mapped = torch.func.vmap(lambda s, b, z: local.step(work, s, b, DIVISOR, z))(stack, batch, noise)
    for c, state in enumerate(loop):
        for name in params:
            torch.testing.assert_close(mapped.trainable[name][c], state.trainable[name], rtol=1e-9, atol=TINY)


@pytest.mark.parametrize("unit", ["sample", "batch"])
def test_noise_cannot_be_left_out(task: Callable[..., Task], unit: str) -> None:
    work = make_work(task(), unit)
    params = work.task.init(torch.float64)
    with pytest.raises(PrivacyError, match="adds noise in every step"):
        local.step(work, local.start(work, params), make_batch(), DIVISOR, None)


def test_noise_without_a_plan_is_refused(task: Callable[..., Task]) -> None:
    work = make_work(task())
    params = work.task.init(torch.float64)
    with pytest.raises(PrivacyError, match="plan adds none"):
        local.step(work, local.start(work, params), make_batch(), DIVISOR, p.zeros_like(params))


@pytest.mark.parametrize("unit", ["sample", "batch"])
def test_an_empty_batch_is_noise_alone(task: Callable[..., Task], unit: str) -> None:
    work = make_work(task(), unit)
    params = work.task.init(torch.float64)
    noise = local.step_noise(work, params, stream(3, "noise"))
    assert noise is not None
    empty = make_batch(width=1)._replace(weight=torch.zeros(1, dtype=torch.float64))
    state = local.step(work, local.start(work, params), empty, DIVISOR, noise)
    divisor, sensitivity = (8, 0.5) if unit == "sample" else (1, 1.0)
    noised = released(p.zeros_like(params), noise, widened(0.5, sensitivity, p.count(params)))
    for name, value in moved(state, params).items():
        torch.testing.assert_close(value, noised[name] / divisor, rtol=1e-10, atol=TINY)


def test_micro_batches_give_the_same_sum(task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch) -> None:
    work = make_work(task(), "sample")
    params, batch = work.task.init(torch.float64), make_batch(width=23)
    noise = local.step_noise(work, params, stream(3, "noise"))
    whole = local.step(work, local.start(work, params), batch, DIVISOR, noise)
    monkeypatch.setattr(local, "_PER_SAMPLE_NUMBERS", 5 * p.count(params))
    parts = local.step(work, local.start(work, params), batch, DIVISOR, noise)
    for name in params:
        torch.testing.assert_close(parts.trainable[name], whole.trainable[name], rtol=1e-10, atol=TINY)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])
def test_a_poisoned_sample_moves_the_model_by_at_most_its_bound(task: Callable[..., Task], value: float) -> None:
    work = make_work(task(), "sample")
    params, batch = work.task.init(torch.float64), make_batch()
    noise = local.step_noise(work, params, stream(3, "noise"))
    clean = local.step(
        work, local.start(work, params), batch._replace(weight=torch.tensor([0.0] + [1.0] * 7)), DIVISOR, noise
    )
    x = batch.x.clone()
    x[0] = value
    dirty = local.step(work, local.start(work, params), batch._replace(x=x), DIVISOR, noise)
    assert p.all_finite(dirty.trainable)
    assert p.norm(p.subtract(dirty.trainable, clean.trainable)) <= 0.5 / 8 * (1 + 1e-9)


def test_client_unit_clips_the_whole_update(task: Callable[..., Task]) -> None:
    work = make_work(task(), "client")
    params = work.task.init(torch.float64)
    state = local.start(work, params)
    for seed in range(5):
        state = local.step(work, state, make_batch(seed=seed), DIVISOR, None)
    raw = p.subtract(state.trainable, params)
    assert p.norm(raw) > 0.5
    assert p.norm(local.finish(work, state, params, 1, None).update) == pytest.approx(0.5, rel=1e-4)
    assert p.norm(local.finish(work, state, params, 1, None).update) <= 0.5


def batch_norm_task() -> Task:
    return Task(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)), 3)


@pytest.mark.parametrize("unit", ["sample", "batch", "client"])
def test_batch_norm_is_refused_under_privacy(unit: str) -> None:
    with pytest.raises(PrivacyError, match="batch norm"):
        make_work(batch_norm_task(), unit)


def test_batch_norm_statistics_travel_without_privacy() -> None:
    work = make_work(batch_norm_task())
    params, batch = work.task.init(torch.float64), make_batch()
    state = local.step(work, local.start(work, params), batch, DIVISOR, None)
    module = nn.BatchNorm1d(6).double()
    module(torch.nn.functional.linear(batch.x, params["0.weight"], params["0.bias"]))
    update = local.finish(work, state, params, 1, None).update
    expected = module.running_mean
    assert expected is not None
    torch.testing.assert_close(update["1.running_mean"] + params["1.running_mean"], expected)


def test_buffers_stay_with_the_client_under_privacy() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 3)
            self.register_buffer("seen", torch.zeros(5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)  # type: ignore[no-any-return]

    work = make_work(Task(Counting(), 3), "sample")
    params = work.task.init(torch.float64)
    sent = local.finish(work, local.start(work, params), params, 1, None).update
    assert set(sent) == {"linear.weight", "linear.bias"}


def test_schedule_follows_the_plan(task: Callable[..., Task]) -> None:
    private, plain = make_work(task(), "sample", local_epochs=50), make_work(task(), local_epochs=50)
    rows = local.schedule(private, N, stream(5, "rows"))
    assert len(rows) == private.steps(N) == 250
    drawn = (rows >= 0).sum()
    assert abs(drawn - 250 * 8) < 4 * (250 * N * 0.2 * 0.8) ** 0.5
    assert len({int((row >= 0).sum()) for row in rows}) > 3
    passes = local.schedule(plain, N, stream(5, "rows"))
    assert passes.shape == (250, 8)
    assert sorted(passes[:5].reshape(-1).tolist()) == list(range(N))


@pytest.mark.parametrize(
    ("changes", "n", "expected"),
    [
        ({}, 40, 5),
        ({}, 41, 6),
        ({}, 3, 1),
        ({"batch_size": None}, 41, 1),
        ({"local_epochs": 3, "batch_size": None}, 41, 3),
        ({"local_epochs": None, "local_steps": 7}, 3, 7),
    ],
)
def test_steps(task: Callable[..., Task], changes: dict[str, Any], n: int, expected: int) -> None:
    work = make_work(task(), **changes)
    assert work.steps(n) == len(local.schedule(work, n, stream(0, "rows"))) == expected


def test_a_plan_for_another_batch_size_is_refused(task: Callable[..., Task]) -> None:
    with pytest.raises(PrivacyError, match="the plan accounts batches of 8, the work draws 9"):
        make_work(task(), "sample", batch_size=9)


@pytest.mark.parametrize("both", [{"local_steps": 3}, {"local_epochs": None}])
def test_exactly_one_length_is_given(task: Callable[..., Task], both: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        make_work(task(), **both)
