"""Compiled training against the one local step, looped: networks, batches, clipping and noise."""

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info
from torch import Tensor, nn

from accord.core.errors import PrivacyError
from accord.core.params import Params
from accord.core.streams import NOISE, bind, stream
from accord.core.timing import Stopwatch, Timed, untimed
from accord.data.federated import DataSet, FederatedData, Table
from accord.engines.compiled import client
from accord.engines.compiled.client import Trainer, single_threaded_blas
from accord.engines.compiled.network import FLAT, CompiledNetwork, compile_network
from accord.engines.stacked.network import stack_network
from accord.privacy.plan import PrivacyPlan
from accord.program import local
from accord.program.local import ClientWork
from accord.program.local_rule import LocalRule
from accord.program.optimizers import adam, sgd
from accord.program.scaffold import ControlVariates
from accord.tasks.task import Task
from conftest import shares
from engines.contract import SEED, close, reference

NETWORKS: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    "softmax": ((37,), lambda: nn.Sequential(nn.Flatten(), nn.Linear(37, 4))),
    "wide": ((300,), lambda: nn.Sequential(nn.Linear(300, 70), nn.ReLU(), nn.Linear(70, 65), nn.Tanh(), _last(65))),
    "no bias": ((9,), lambda: nn.Sequential(nn.Linear(9, 80, bias=False), nn.ReLU(), nn.Linear(80, 4, bias=False))),
    "flat image": ((2, 5, 4), lambda: nn.Sequential(nn.Flatten(), nn.Linear(40, 66), nn.ReLU(), _last(66))),
    "convolutions": (
        (1, 12, 11),
        lambda: nn.Sequential(
            nn.Conv2d(1, 5, (3, 4), 2, 1), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Conv2d(5, 6, 2, bias=False), nn.Tanh(),
            nn.Flatten(), nn.Linear(6 * 4 * 3, 9), nn.ReLU(), _last(9),
        ),
    ),
    "colours": (
        (3, 8, 8),
        lambda: nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, (2, 1), (1, 0)), nn.ReLU(),
            nn.MaxPool2d((1, 2)), nn.Flatten(), _last(10),
        ),
    ),
}  # fmt: skip
CLASSES = 4
HELD = 23


def _last(features: int) -> nn.Module:
    return nn.Linear(features, CLASSES)


def plan(clip_norm: float = 0.7, noise_multiplier: float = 0.5) -> PrivacyPlan:
    return PrivacyPlan("sample", clip_norm, noise_multiplier, 1e-3, expected_size=8)


def make_data(shape: tuple[int, ...], pixels: bool = False) -> FederatedData:
    rng = np.random.default_rng(3)
    x: Tensor = torch.from_numpy(rng.normal(size=(40, *shape)).astype(np.float32))
    if pixels:
        x = torch.from_numpy(rng.integers(256, size=(40, *shape), dtype=np.uint8))
    y = torch.from_numpy(rng.integers(CLASSES, size=40))
    table = Table(x, y)
    data = DataSet("made", table, table, tuple("abcd"), "Made.")
    return FederatedData(data, shares([17, HELD]), shares([20, 20]))


def make_work(name: str, **changes: Any) -> ClientWork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        task = Task(NETWORKS[name][1](), CLASSES)
    values: dict[str, Any] = {
        "task": task,
        "optimizer": sgd(0.2),
        "batch_size": 8,
        "local_epochs": 2,
        "local_steps": None,
        "plan": None,
        "dtype": torch.float32,
    }
    return ClientWork(**(values | changes))


def laid_out(work: ClientWork, shape: tuple[int, ...]) -> CompiledNetwork:
    by_sample = work.local_plan is not None
    stacked = stack_network(work.task.model, len(shape), by_sample=by_sample)
    assert stacked is not None
    found = compile_network(stacked, shape, CLASSES, by_sample=by_sample)
    assert found is not None
    return found


def trained(
    work: ClientWork,
    data: FederatedData,
    shared: Params,
    micro: int | None = None,
    timed: Timed = untimed,
    alone: bool = False,
    pool: Executor | None = None,
) -> Params:
    """The update of client 1, by compiled training."""
    table, held = data.data.train, data.train.rows(1)
    network = laid_out(work, tuple(table.x.shape[1:]))
    if micro is not None:
        network = replace(network, micro=micro)
    start = network.enter({name: value.unsqueeze(0) for name, value in shared.items()})[FLAT]
    flat = start.clone()
    rows = local.schedule(work, len(held), stream(SEED, "rows", 2, 1))
    counts = (rows >= 0).sum(1)
    rows = np.where(rows >= 0, held[rows], -1)
    noise = bind(SEED)(NOISE, 2, 1)
    trainer = Trainer(work, network, table, timed)
    with single_threaded_blas():
        if alone:
            trainer.train_in_halves(rows, counts, len(held), flat[0], noise, pool)
        else:
            trainer.train(rows, counts, len(held), flat[0], noise)
    return {name: value[0] for name, value in network.leave({FLAT: flat - start}).items()}


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("micro", [None, 3, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_local_step_looped(name: str, micro: int | None, private: bool) -> None:
    work = make_work(name, plan=plan() if private else None)
    data, shared = make_data(NETWORKS[name][0]), work.task.init()
    expected = reference(work, data, 1, shared, 2, {}).update
    close(trained(work, data, shared, micro), expected, relative=2e-4)


@pytest.mark.parametrize("name", ["convolutions", "flat image", "colours"])
@pytest.mark.parametrize("private", [False, True])
def test_pixels_are_numbers_from_0_to_1(name: str, private: bool) -> None:
    work = make_work(name, plan=plan() if private else None)
    data, shared = make_data(NETWORKS[name][0], pixels=True), work.task.init()
    table = data.data.train
    numbers = replace(data, data=replace(data.data, train=replace(table, x=table.x.float() / 255)))
    close(trained(work, data, shared), reference(work, numbers, 1, shared, 2, {}).update, relative=2e-4)


@pytest.mark.parametrize("clip_norm", [0.03, 1e3])
@pytest.mark.parametrize("name", ["wide", "convolutions"])
def test_every_row_is_clipped_or_none(name: str, clip_norm: float) -> None:
    work = make_work(name, plan=plan(clip_norm, 1e-4))
    data, shared = make_data(NETWORKS[name][0]), work.task.init()
    close(trained(work, data, shared), reference(work, data, 1, shared, 2, {}).update, relative=5e-4)


@pytest.mark.parametrize("name", ["wide", "convolutions"])
@pytest.mark.parametrize("micro", [None, 3])
def test_no_row_moves_the_sum_by_more_than_the_clip_norm(name: str, micro: int | None) -> None:
    """By one step on all rows with and without one: ordinary, huge, and overflowing rows; the noise cancels."""
    options = {"local_epochs": None, "local_steps": 1, "batch_size": None, "optimizer": sgd(1.0)}
    whole = PrivacyPlan("sample", 0.7, 1e-6, 1e-3, expected_size=None)
    work = make_work(name, plan=whole, **options)
    data, shared = make_data(NETWORKS[name][0]), work.task.init()
    for value in (1.0, 1e4, 1e30, 3e38):
        x = data.data.train.x.clone()
        x[20] *= value  # of client 1
        x.clamp_(-3.4e38, 3.4e38)
        given = replace(data, data=replace(data.data, train=replace(data.data.train, x=x)))
        mine = [row for row in given.train.rows(1).tolist() if row != 20]
        order = np.array([*range(17), *mine, 20])
        without = replace(given, train=replace(given.train, order=order, offsets=np.array([0, 17, 39])))
        one, other = trained(work, given, shared, micro), trained(work, without, shared, micro)
        moved = sum(float((one[n] * HELD - other[n] * (HELD - 1)).double().square().sum()) for n in one) ** 0.5
        assert moved <= 0.7 * 1.001, value
        assert moved > 0 or value > 1e20


@pytest.mark.parametrize("name", ["wide", "convolutions"])
def test_parameters_that_are_no_numbers_drop_every_row(name: str) -> None:
    work = make_work(name, plan=plan())
    data, shared = make_data(NETWORKS[name][0]), work.task.init()
    shared[work.task.trainable[0]][0] = float("nan")
    update, expected = trained(work, data, shared), reference(work, data, 1, shared, 2, {}).update
    for key, value in expected.items():
        assert torch.equal(value.isnan(), update[key].isnan())
        assert torch.allclose(update[key], value, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("name", ["wide", "convolutions"])
def test_a_lone_client_is_worked_on_by_halves(name: str, private: bool) -> None:
    work = make_work(name, plan=plan() if private else None)
    data, shared = make_data(NETWORKS[name][0]), work.task.init()
    one = trained(work, data, shared, alone=True)
    with ThreadPoolExecutor(2) as pool:
        two = trained(work, data, shared, alone=True, pool=pool)
    assert all(torch.equal(one[key], two[key]) for key in one)
    close(one, reference(work, data, 1, shared, 2, {}).update, relative=2e-4)


def test_time_is_told_by_stage() -> None:
    work, watch = make_work("wide", plan=plan()), Stopwatch()
    with watch("local training"):
        trained(work, make_data((300,)), work.task.init(), timed=watch)
    seconds = watch.seconds
    assert set(seconds) == {"data", "clipping", "noise", "local training"}
    assert all(value >= 0 for value in seconds.values())


def test_a_machine_without_a_tick_counter_divides_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "train", lambda *arguments: None)  # leaves every count of ticks at 0
    work, watch = make_work("softmax", plan=plan()), Stopwatch()
    with watch("local training"):
        trained(work, make_data((37,)), work.task.init(), timed=watch)
    assert [watch.seconds[stage] for stage in ("data", "clipping", "noise")] == [0, 0, 0]


def test_a_clip_norm_that_vanishes_in_float32_is_refused() -> None:
    """The compiled loop would take it for no clipping."""
    private = plan()
    object.__setattr__(private, "clip_norm", 1e-60)  # past the plan's own check
    work = make_work("softmax", plan=private)
    with pytest.raises(PrivacyError, match="1e-60 is 0 in float32"):
        trained(work, make_data((37,)), work.task.init())


def test_products_take_one_thread_meanwhile() -> None:
    with single_threaded_blas():
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": adam(0.1)},
        {"optimizer": sgd(0.1, 0.9)},
        {"rule": LocalRule(proximal=0.1)},
        {"rule": ControlVariates()},
        {"plan": PrivacyPlan("sample", 0.7, 0.5, 1e-3, expected_size=8, per_layer=True)},
        {"plan": PrivacyPlan("batch", 0.7, 0.5, 1e-3, expected_size=8)},
    ],
)
def test_other_work_is_refused(changes: dict[str, Any]) -> None:
    work = make_work("softmax", **changes)
    network = laid_out(make_work("softmax"), (37,))
    with pytest.raises(PrivacyError, match="only plain SGD"):
        Trainer(work, network, make_data((37,)).data.train, untimed)
