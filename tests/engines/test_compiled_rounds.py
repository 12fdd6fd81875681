"""Whole rounds by compiled training: the reference's updates, the same bits however the work is cut."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from accord.core.params import Params
from accord.data.federated import FederatedData
from accord.engines.vectorised import chunks
from accord.engines.vectorised.engine import Vectorised
from accord.engines.vectorised.speed import Speed
from accord.program.local import ClientWork
from accord.program.local_rule import LocalRule
from accord.program.optimizers import sgd
from accord.program.scaffold import ControlVariates
from accord.tasks.task import Task
from engines.contract import SIZES, STREAMS, close, make_plan, make_work, reference_update

FLOAT: dict[str, Any] = {"dtype": torch.float32, "optimizer": sgd(0.1)}


@pytest.fixture
def data(federation: Callable[..., FederatedData]) -> FederatedData:
    made = federation(SIZES)
    table = made.data.train
    return replace(made, data=replace(made.data, train=replace(table, x=table.x.float())))


def compiles(engine: Vectorised, work: ClientWork, shared: Params) -> bool:
    kernels = engine._forms.kernels(work, shared, 3)
    return kernels is not None and kernels.compiled is not None


@pytest.mark.parametrize("unit", [None, "sample", "client"])
@pytest.mark.parametrize("length", [{}, {"local_epochs": None, "local_steps": 5}, {"batch_size": None}])
def test_updates_agree_with_the_reference(
    data: FederatedData, task: Callable[..., Task], unit: str | None, length: dict[str, Any]
) -> None:
    if unit == "sample" and "batch_size" in length:
        length = length | {"plan": make_plan("sample", expected_size=None)}
    work = make_work(task(), unit, **FLOAT, **length)
    shared, engine = work.task.init(work.dtype), Vectorised(data, STREAMS)
    assert compiles(engine, work, shared)
    results = list(engine.run_cohort(work, [4, 0, 2, 5], shared, 3))
    assert [result.client for result in results] == [4, 0, 2, 5]
    for result in results:
        close(result.update, reference_update(work, data, result.client, shared, 3), relative=2e-4)
        assert result.steps == work.steps(SIZES[result.client])


@pytest.mark.parametrize("unit", [None, "sample", "client"])
@pytest.mark.parametrize("cohort", [[3], [3, 4], list(range(7))])
def test_the_same_bits_at_any_thread_count_and_chunk_size(
    data: FederatedData, task: Callable[..., Task], unit: str | None, cohort: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_SHARED_FLOPS", 0.0)
    monkeypatch.setattr(chunks, "_SUBMIT_FLOPS", 0.0)
    work = make_work(task(), unit, **FLOAT)
    shared, weights = work.task.init(work.dtype), [0.1 * (client + 1) for client in cohort]
    sums = [
        Vectorised(data, STREAMS, 4, speed=Speed(threads=threads, chunk_size=size)).sum_cohort(
            work, cohort, shared, 1, weights
        )
        for threads, size in ((1, None), (2, None), (3, None), (1, 2), (2, 3), (2, 50))
    ]
    for other in sums[1:]:
        assert all(torch.equal(sums[0].total[name], other.total[name]) for name in shared)
    assert {summed.padding for summed in sums} == {0}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("unit", [None, "sample"])
def test_a_lone_client_whose_batch_is_shared_agrees_with_the_reference(
    data: FederatedData, task: Callable[..., Task], unit: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_SHARED_FLOPS", 0.0)
    work = make_work(task(), unit, **FLOAT)
    shared, engine = work.task.init(work.dtype), Vectorised(data, STREAMS, speed=Speed(threads=threads))
    kernels = engine._forms.kernels(work, shared, 1)
    assert kernels is not None
    assert kernels.step.pieces == 2
    (result,) = engine.run_cohort(work, [4], shared, 3)
    close(result.update, reference_update(work, data, 4, shared, 3), relative=2e-4)


def test_a_huge_row_reaches_no_other_client(data: FederatedData, task: Callable[..., Task]) -> None:
    work = make_work(task(), "sample", **FLOAT)
    shared, table = work.task.init(work.dtype), data.data.train
    x = table.x.clone()
    x[0] = 3e38
    poisoned = replace(data, data=replace(data.data, train=replace(table, x=x)))
    clean = {r.client: r.update for r in Vectorised(data, STREAMS).run_cohort(work, range(7), shared, 1)}
    for result in Vectorised(poisoned, STREAMS).run_cohort(work, range(7), shared, 1):
        assert all(value.isfinite().all() for value in result.update.values())
        if result.client != 0:
            assert all(torch.equal(result.update[name], clean[result.client][name]) for name in shared)


@pytest.mark.parametrize(
    ("unit", "changes"),
    [
        (None, {"optimizer": sgd(0.1, 0.9)}),
        (None, {"rule": LocalRule(proximal=0.3)}),
        (None, {"rule": ControlVariates()}),
        ("batch", {}),
        ("local", {}),
        ("sample", {"plan": make_plan("sample", per_layer=True)}),
        (None, {"dtype": torch.float64}),
    ],
)
def test_other_work_is_done_by_the_stacked_step(
    data: FederatedData, task: Callable[..., Task], unit: str | None, changes: dict[str, Any]
) -> None:
    work = make_work(task(), unit, **(FLOAT | changes))
    assert not compiles(Vectorised(data, STREAMS), work, work.task.init(work.dtype))


@pytest.mark.parametrize("strided", ["x", "y"])
def test_rows_that_lie_apart_are_not_for_compiled_code(
    data: FederatedData, task: Callable[..., Task], strided: str
) -> None:
    """It reads memory row after row."""
    work, table = make_work(task(), None, **FLOAT), data.data.train
    x, y = (torch.stack([value, value], dim=-1)[..., 0] for value in (table.x, table.y))
    assert torch.equal(x, table.x)
    apart = replace(table, x=x) if strided == "x" else replace(table, y=y)
    other = replace(data, data=replace(data.data, train=apart))
    assert not compiles(Vectorised(other, STREAMS), work, work.task.init(work.dtype))


def test_short_runs_do_not_wait_for_the_compiler(data: FederatedData, task: Callable[..., Task]) -> None:
    work = make_work(task(), None, **FLOAT)
    shared = work.task.init(work.dtype)
    assert not compiles(Vectorised(data, STREAMS, speed=Speed(samples=1e6)), work, shared)
    assert compiles(Vectorised(data, STREAMS, speed=Speed(samples=1e12)), work, shared)
    assert compiles(Vectorised(data, STREAMS, speed=Speed(samples=1e6, compile=True)), work, shared)
    assert not compiles(Vectorised(data, STREAMS, speed=Speed(compile=False)), work, shared)


def test_works_that_take_turns_keep_their_forms(data: FederatedData, task: Callable[..., Task]) -> None:
    """Such as training and fine-tuning: a form costs a trial step and, of a compiled network, its layout."""
    engine, made = Vectorised(data, STREAMS), task()
    shared = made.init(torch.float32)
    works = [make_work(made, unit, **FLOAT) for unit in (None, "sample", "client", None)]
    first, again = ([engine._forms.kernels(work, shared, 3) for work in works] for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one is not None
        assert other is not None
        assert one.step is other.step


def test_what_is_kept_of_a_work_does_not_grow(data: FederatedData, task: Callable[..., Task]) -> None:
    """Adaptive clipping makes new work in every round."""
    engine, made = Vectorised(data, STREAMS), task()
    for _ in range(20):
        work = make_work(made, "client", **FLOAT)
        engine.sum_cohort(work, [0, 1], made.init(work.dtype), 1, [1.0, 1.0])
    assert len(engine._forms.made) <= 4
