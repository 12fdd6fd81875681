"""The contract of every engine, as a class that an engine's tests inherit.

The reference is written out here in a dozen lines, apart from any engine: plain autograd, one client after the
other, one partial sum a shard.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from accord.core import params as p
from accord.core.errors import PrivacyError
from accord.core.params import Params
from accord.core.streams import NOISE, bind, stream
from accord.data.federated import FederatedData
from accord.privacy.plan import PrivacyPlan
from accord.program import local
from accord.program.base import ClientResult, Engine
from accord.program.local import ClientWork
from accord.program.local_rule import LocalRule
from accord.program.optimizers import adam, sgd
from accord.program.scaffold import CONTROL, ControlVariates
from accord.tasks.task import Task

SIZES = [12, 30, 7, 30, 41, 5, 18]
SEED = 9


def make_plan(unit: str, **changes: Any) -> PrivacyPlan:
    sampling: dict[str, Any] = {"expected_size": 8} if unit in ("sample", "batch") else {"sampling": "everyone"}
    return PrivacyPlan(unit, 0.5, 1.0, 1e-3, **(sampling | changes))  # type: ignore[arg-type]


def make_work(task: Task, unit: str | None, **changes: Any) -> ClientWork:
    plan = None
    if unit is not None:
        plan = make_plan(unit)
    values: dict[str, Any] = {
        "task": task,
        "optimizer": sgd(0.1, 0.9, 0.001),
        "batch_size": 8,
        "local_epochs": 2,
        "local_steps": None,
        "plan": plan,
        "dtype": torch.float64,
    }
    return ClientWork(**(values | changes))


def reference_update(work: ClientWork, data: FederatedData, client: int, shared: Params, round_number: int) -> Params:
    """One client's update."""
    return reference(work, data, client, shared, round_number, {}).update


def reference(
    work: ClientWork, data: FederatedData, client: int, shared: Params, round_number: int, carried: Params
) -> local.Finished:
    """One client's round by the pattern of `program.local`, with nothing else in the way."""
    held = data.train.rows(client)
    table = data.data.train
    noise_stream = STREAMS(NOISE, round_number, client)
    state = local.start(work, shared, carried)
    schedule = local.schedule(work, len(held), stream(SEED, "rows", round_number, client))
    for drawn in schedule:
        rows = torch.from_numpy(held[drawn[drawn >= 0]])
        weight = torch.ones(max(1, len(rows)), dtype=work.dtype) * (len(rows) > 0)
        rows = rows if len(rows) else torch.tensor([0])
        batch = local.Batch(table.x[rows].to(work.dtype), table.y[rows], weight)
        noise = local.step_noise(work, shared, noise_stream)
        state = local.step(work, state, batch, local.divisor(work, len(held)), noise)
    return local.finish(work, state, shared, len(schedule), local.sent_noise(work, shared, noise_stream))


def close(a: Params, b: Params, relative: float = 1e-9) -> None:
    assert list(a) == list(b)
    for name in a:
        scale = float(b[name].abs().max()) + 1e-300
        assert float((a[name] - b[name]).abs().max()) <= relative * scale, name


@dataclass(frozen=True)
class ReversedPull(LocalRule):
    """A proximal term of unit norm, back to front: no number of it depends on the same number of params alone."""

    def correction(self, params: Params, anchor: Params, offset: Params) -> Params:
        pull = {name: value - anchor[name] for name, value in params.items()}
        return {name: self.proximal * value.flip(-1) / (value.norm() + 1e-6) for name, value in pull.items()}


class EngineContract(ABC):
    """Within 1e-9 of the reference in float64 over whole rounds; bitwise equal to itself."""

    @abstractmethod
    def make(self, data: FederatedData, shard_size: int = 16) -> Engine:
        """The engine under test, with streams of seed SEED."""

    @pytest.fixture
    def data(self, federation: Callable[..., FederatedData]) -> FederatedData:
        return federation(SIZES)

    @pytest.mark.parametrize("unit", [None, "sample", "batch", "client"])
    @pytest.mark.parametrize("length", [{}, {"local_epochs": None, "local_steps": 5}, {"batch_size": None}])
    def test_updates_agree_with_the_reference(
        self, data: FederatedData, task: Callable[..., Task], unit: str | None, length: dict[str, Any]
    ) -> None:
        if unit in ("sample", "batch") and "batch_size" in length:
            plan = PrivacyPlan(unit, 0.5, 1.0, 1e-3, expected_size=None)  # type: ignore[arg-type]
            length = length | {"plan": plan}
        work = make_work(task(), unit, **length)
        shared = work.task.init(work.dtype)
        results = list(self.make(data).run_cohort(work, [4, 0, 2, 5], shared, 3))
        assert [r.client for r in results] == [4, 0, 2, 5]
        for result in results:
            close(result.update, reference_update(work, data, result.client, shared, 3))
            assert result.steps == work.steps(SIZES[result.client])

    @pytest.mark.parametrize(
        ("unit", "changes"),
        [
            (None, {"rule": LocalRule(proximal=0.3)}),
            (None, {"rule": LocalRule(proximal=0.3), "optimizer": sgd(0.1)}),
            ("sample", {"rule": LocalRule(proximal=0.3), "optimizer": sgd(0.1)}),
            (None, {"rule": ControlVariates(), "optimizer": sgd(0.1)}),
            ("sample", {"rule": ControlVariates(), "optimizer": sgd(0.1)}),
            (None, {"own": 4, "proximal": 0.3}),
            (None, {"own": 2}),
            ("sample", {"own": 2}),
            ("client", {"own": 2}),
            ("local", {}),
            ("local", {"rule": LocalRule(proximal=0.1)}),
            (None, {"rule": ReversedPull(0.3), "optimizer": sgd(0.1)}),
            ("sample", {"rule": ReversedPull(0.3)}),
            ("local", {"rule": ReversedPull(0.3)}),
            ("client", {"plan": make_plan("client", per_layer=True)}),
            ("local", {"plan": make_plan("local", per_layer=True)}),
            ("sample", {"plan": make_plan("sample", per_layer=True)}),
            ("batch", {"plan": make_plan("batch", per_layer=True)}),
        ],
    )
    def test_so_does_what_clients_keep_from_round_to_round(
        self, data: FederatedData, task: Callable[..., Task], unit: str | None, changes: dict[str, Any]
    ) -> None:
        made = task()
        if "own" in changes:
            rule = LocalRule(changes.get("proximal", 0.0), own=made.trainable[: changes["own"]])
            changes = {"rule": rule}
        work, engine = make_work(made, unit, **changes), self.make(data)
        shared = work.task.init(work.dtype)
        if work.rule.sends:
            shared |= {CONTROL + name: torch.randn_like(shared[name]) for name in made.trainable}
        carried: dict[int, Params] = {}
        for number, cohort in enumerate(([4, 0, 2], [0, 5, 4], [4, 5, 1]), 1):
            results = list(engine.run_cohort(work, cohort, shared, number))
            for result in results:
                client = result.client
                expected = reference(work, data, client, shared, number, carried.get(client, {}))
                assert list(result.update) == list(work.sent)
                close(result.update, expected.update)
                assert result.unclipped == expected.unclipped
                carried[client] = carried.get(client, {}) | expected.carried
            if work.rule.carries:
                for client in cohort:
                    close(engine.carried[client], carried[client])
            shared = {name: value + results[0].update.get(name, 0 * value) for name, value in shared.items()}
        assert set(engine.carried) == (set(carried) if work.rule.carries else set())

    @pytest.mark.parametrize("unit", [None, "local"])
    def test_a_rule_mixes_no_clients(self, data: FederatedData, task: Callable[..., Task], unit: str | None) -> None:
        work = make_work(task(), unit, rule=ReversedPull(0.3))
        shared = work.task.init(work.dtype)
        y = data.data.train.y.clone()
        rows = torch.from_numpy(data.train.rows(0))
        y[rows] = (y[rows] + 1) % (work.task.classes or 100)  # a regression has no classes
        other = replace(data, data=replace(data.data, train=replace(data.data.train, y=y)))
        before = {r.client: r.update for r in self.make(data).run_cohort(work, range(7), shared, 1)}
        for result in self.make(other).run_cohort(work, range(7), shared, 1):
            same = all(torch.equal(result.update[name], before[result.client][name]) for name in shared)
            assert same == (result.client != 0)

    def test_losses_are_of_the_rounds_parameters(self, data: FederatedData, task: Callable[..., Task]) -> None:
        work = make_work(task(), None)
        shared, table = work.task.init(work.dtype), data.data.train
        expected = []
        for client in (4, 1, 6):
            rows = torch.from_numpy(data.train.rows(client))
            expected.append(float(work.task.losses(shared, table.x[rows].to(work.dtype), table.y[rows]).mean()))
        assert self.make(data).client_losses(work, [4, 1, 6], shared) == pytest.approx(expected)
        with pytest.raises(PrivacyError, match="does not cover the losses"):
            self.make(data).client_losses(make_work(task(), "sample"), [4], shared)

    def test_updates_within_the_norm_are_counted(self, data: FederatedData, task: Callable[..., Task]) -> None:
        work = make_work(task(), "client")
        shared = work.task.init(work.dtype)
        whole = make_work(task(), None)
        norms = [p.norm(reference_update(whole, data, client, shared, 1)) for client in range(7)]
        norms.sort()
        plan = replace(make_plan("client"), clip_norm=(norms[3] + norms[4]) / 2)
        summed = self.make(data).sum_cohort(replace(work, plan=plan), range(7), shared, 1, [1.0] * 7)
        assert summed.unclipped == 4

    def test_adam_agrees_too(self, data: FederatedData, task: Callable[..., Task]) -> None:
        work = make_work(task(), "sample", optimizer=adam(0.01))
        shared = work.task.init(work.dtype)
        (result,) = self.make(data).run_cohort(work, [1], shared, 1)
        close(result.update, reference_update(work, data, 1, shared, 1))

    @pytest.mark.parametrize("unit", [None, "sample", "client"])
    @pytest.mark.parametrize("shard_size", [1, 3, 16])
    def test_the_sum_is_the_weighted_sum(
        self, data: FederatedData, task: Callable[..., Task], unit: str | None, shard_size: int
    ) -> None:
        work = make_work(task(), unit)
        shared = work.task.init(work.dtype)
        cohort, weights = list(range(7)), [0.1 * (c + 1) for c in range(7)]
        summed = self.make(data, shard_size).sum_cohort(work, cohort, shared, 2, weights)
        expected = p.zeros_like(summed.total)
        for client, weight in zip(cohort, weights, strict=True):
            expected = p.add(expected, reference_update(work, data, client, shared, 2), weight)
        close(summed.total, expected)
        assert set(summed.samples) == set(summed.steps) == set(cohort)

    @pytest.mark.parametrize("unit", [None, "sample", "batch", "client"])
    @pytest.mark.parametrize("value", [3e38, 1e300])
    def test_a_huge_row_reaches_no_other_client(
        self, data: FederatedData, task: Callable[..., Task], unit: str | None, value: float
    ) -> None:
        """Padding must not be filled with somebody's row: 0 times infinity is NaN."""
        work = make_work(task(), unit)
        shared = work.task.init(work.dtype)
        x = data.data.train.x.clone()
        x[0] = value  # row 0 is client 0's
        table = replace(data.data.train, x=x)
        poisoned = replace(data, data=replace(data.data, train=table))
        clean = {r.client: r.update for r in self.make(data).run_cohort(work, range(7), shared, 1)}
        for result in self.make(poisoned).run_cohort(work, range(7), shared, 1):
            if result.client != 0:
                assert all(torch.equal(result.update[name], clean[result.client][name]) for name in shared)

    @pytest.mark.parametrize("weights", [[0.5, 0.25], [0.5, 0.25, 0.125, 0.125]])
    def test_every_client_has_one_weight(
        self, data: FederatedData, task: Callable[..., Task], weights: list[float]
    ) -> None:
        work = make_work(task(), None)
        with pytest.raises(ValueError, match=r"zip\(\) argument 2 is (shorter|longer)"):
            self.make(data).sum_cohort(work, [0, 2, 5], work.task.init(work.dtype), 1, weights)

    def test_an_empty_cohort_sums_to_zero(self, data: FederatedData, task: Callable[..., Task]) -> None:
        work = make_work(task(), "client")
        summed = self.make(data).sum_cohort(work, [], work.task.init(work.dtype), 1, [])
        assert p.norm(summed.total) == 0.0
        assert summed.samples == {}

    @pytest.mark.parametrize("unit", [None, "sample"])
    def test_bitwise_equal_to_itself(self, data: FederatedData, task: Callable[..., Task], unit: str | None) -> None:
        work = make_work(task(), unit, dtype=torch.float32)
        shared = work.task.init(work.dtype)
        sums = [self.make(data, 3).sum_cohort(work, range(7), shared, 1, [1.0] * 7).total for _ in range(2)]
        assert all(torch.equal(sums[0][name], sums[1][name]) for name in shared)

    def test_a_client_does_the_same_in_any_company(self, data: FederatedData, task: Callable[..., Task]) -> None:
        work = make_work(task(), "sample")
        shared = work.task.init(work.dtype)
        engine = self.make(data)
        alone = self._update(list(engine.run_cohort(work, [3], shared, 1)), 3)
        together = self._update(list(engine.run_cohort(work, [5, 3, 1], shared, 1)), 3)
        close(together, alone)

    def test_rounds_and_clients_draw_differently(self, data: FederatedData, task: Callable[..., Task]) -> None:
        work = make_work(task(), "sample")
        shared = work.task.init(work.dtype)
        engine = self.make(data)
        one = self._update(list(engine.run_cohort(work, [3], shared, 1)), 3)
        two = self._update(list(engine.run_cohort(work, [3], shared, 2)), 3)
        assert not any(torch.equal(one[name], two[name]) for name in one)

    def test_float32_is_close_for_one_step(self, data: FederatedData, task: Callable[..., Task]) -> None:
        options: dict[str, Any] = {"local_epochs": None, "local_steps": 1, "dtype": torch.float32}
        work = make_work(task(), None, **options)
        shared = work.task.init(work.dtype)
        (result,) = self.make(data).run_cohort(work, [4], shared, 1)
        close(result.update, reference_update(work, data, 4, shared, 1), relative=1e-5)

    @staticmethod
    def _update(results: Sequence[ClientResult], client: int) -> Params:
        return next(r.update for r in results if r.client == client)


STREAMS = bind(SEED)
