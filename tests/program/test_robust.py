"""Robust programs on real client work: the rule of the updates is what is added, whoever sends what."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from accord.communication.wire import message_bytes
from accord.config.programs.robust import (
    BulyanProgram,
    CentredClippingProgram,
    GeometricMedianProgram,
    KrumProgram,
    MedianProgram,
    MultiKrumProgram,
    PreAggregation,
    RobustSection,
    TrimmedMeanProgram,
)
from accord.config.training import Training
from accord.core import params as p
from accord.core.errors import DivergedError, Fault, PrivacyError, StudyError
from accord.core.params import Params
from accord.core.streams import bind
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.privacy.plan import PrivacyPlan
from accord.program import robust_rules as rules
from accord.program.base import SERVER, ClientResult, Cohort
from accord.program.context import ProgramContext
from accord.program.fedavg import fedavg
from accord.program.local import ClientWork
from accord.program.optimizers import sgd
from accord.program.pre_aggregation import bucketing, nearest_neighbour_mixing
from accord.program.robust import build, make_rule, robust
from accord.tasks.task import Task

SIZES = [12, 30, 7, 20, 16, 9, 25]
EVERYONE = tuple(range(len(SIZES)))
STREAMS = bind(4)


def make_work(task: Task, plan: PrivacyPlan | None = None, **changes: Any) -> ClientWork:
    values: dict[str, Any] = {"batch_size": 8, "local_epochs": None, "local_steps": 2, "dtype": torch.float64}
    return ClientWork(task, sgd(0.3), plan=plan, **(values | changes))


class Spoilt(Sequential):
    """A sequential engine some of whose clients send NaN."""

    spoilt: tuple[int, ...] = ()

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[int], shared: Params, round_number: int
    ) -> Iterator[ClientResult]:
        for result in super().run_cohort(work, cohort, shared, round_number):
            if result.client in self.spoilt:
                result.update["0.bias"].fill_(math.nan)
            yield result


@pytest.mark.parametrize(
    ("section", "rule"),
    [
        (MedianProgram(name="median"), lambda x, n: rules.median(x)),
        (TrimmedMeanProgram(name="trimmed_mean", trim=0.3), lambda x, n: rules.trimmed_mean(x, 0.3)),
        (KrumProgram(name="krum", malicious=2), lambda x, n: rules.krum(x, 2)),
        (MultiKrumProgram(name="multi_krum", malicious=1, keep=3), lambda x, n: rules.multi_krum(x, 1, 3)),
        (GeometricMedianProgram(name="geometric_median"), lambda x, n: rules.geometric_median(x)),
        (
            GeometricMedianProgram(name="geometric_median", weights="size", smoothing=0.1, iterations=3),
            lambda x, n: rules.geometric_median(x, n, 0.1, 3),
        ),
        (BulyanProgram(name="bulyan", malicious=1), lambda x, n: rules.bulyan(x, 1)),
        (
            CentredClippingProgram(name="centred_clipping", radius=0.05, iterations=2),
            lambda x, n: rules.centred_clipping(x, 0.05, 2),
        ),
        (
            MedianProgram(name="median", pre_aggregation=PreAggregation(rule="nnm", malicious=2)),
            lambda x, n: rules.median(nearest_neighbour_mixing(x, 2)),
        ),
        (
            GeometricMedianProgram(
                name="geometric_median", weights="size", pre_aggregation=PreAggregation(rule="bucketing", bucket_size=3)
            ),
            lambda x, n: rules.geometric_median(*bucketing(x, n.double(), 3, STREAMS("buckets", 3, SERVER))),
        ),
    ],
)
def test_the_rule_of_the_updates_is_added(
    section: RobustSection,
    rule: Callable[[Tensor, Tensor], Tensor],
    federation: Callable[..., FederatedData],
    task: Callable[..., Task],
) -> None:
    data, work = federation(SIZES), make_work(task())
    engine, start = Sequential(data, STREAMS), work.task.init(torch.float64)
    program = build(section, ProgramContext(work, np.array(SIZES), Training()))
    state, outcome = program.round(program.init(start), Cohort(3, EVERYONE), engine, STREAMS)
    results = list(engine.run_cohort(work, EVERYONE, start, 3))
    updates = torch.stack([p.flatten(result.update) for result in results])
    expected = p.unflatten(p.flatten(start) + rule(updates, torch.tensor(SIZES)), start)
    for name in start:
        torch.testing.assert_close(state.params[name], expected[name])
    size = message_bytes(start)
    assert (outcome.uplink_bytes, outcome.downlink_bytes, outcome.messages) == (7 * size, 7 * size, 14)
    assert outcome.samples == {result.client: result.samples for result in results}
    assert outcome.steps == dict.fromkeys(EVERYONE, 2)
    assert outcome.measures == {"dropped": 0}


def test_the_mean_as_a_rule_is_fedavg(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    data, work = federation(SIZES), make_work(task())
    start, engine = work.task.init(torch.float64), Sequential(data, STREAMS)

    def weigh(client: int) -> float:
        return float(SIZES[client])

    mean = robust(work, lambda updates, weights, last: weights @ updates / weights.sum(), weigh)
    plain = fedavg(work, weigh, len(SIZES))
    ours, theirs = mean.init(start), plain.init(start)
    for round in (1, 2):
        ours, _ = mean.round(ours, Cohort(round, (0, 2, 5)), engine, STREAMS)
        theirs, _ = plain.round(theirs, Cohort(round, (0, 2, 5)), engine, STREAMS)
    for name in start:
        torch.testing.assert_close(ours.params[name], theirs.params[name])


def test_a_client_that_sends_nan_is_dropped_and_counted(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    start, engine = work.task.init(torch.float64), Spoilt(data, STREAMS)
    engine.spoilt = (1, 4)
    program = build(MedianProgram(name="median"), ProgramContext(work, np.array(SIZES), Training()))
    state, outcome = program.round(program.init(start), Cohort(1, EVERYONE), engine, STREAMS)
    without, _ = program.round(program.init(start), Cohort(1, (0, 2, 3, 5, 6)), engine, STREAMS)
    assert outcome.measures == {"dropped": 2}
    assert outcome.steps == dict.fromkeys(EVERYONE, 2)
    assert all(torch.equal(value, without.params[name]) for name, value in state.params.items())


def test_nobody_left_is_divergence_and_too_few_a_fault(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    engine = Spoilt(data, STREAMS)
    engine.spoilt = EVERYONE
    program = build(KrumProgram(name="krum"), ProgramContext(work, np.array(SIZES), Training()))
    start = program.init(work.task.init(torch.float64))
    with pytest.raises(DivergedError, match=r"round 2: no client sent finite numbers; lower training\.learning_rate"):
        program.round(start, Cohort(2, EVERYONE), engine, STREAMS)
    engine.spoilt = ()
    with pytest.raises(Fault, match=r"round 2: krum with malicious 2 needs 7 clients .* got 3; raise program\."):
        program.round(start, Cohort(2, (0, 1, 2)), engine, STREAMS)


def test_an_empty_cohort_changes_nothing(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    work = make_work(task())
    program = build(KrumProgram(name="krum"), ProgramContext(work, np.array(SIZES), Training()))
    start = program.init(work.task.init(torch.float64))
    state, outcome = program.round(start, Cohort(1, ()), Sequential(federation(SIZES), STREAMS), STREAMS)
    assert all(torch.equal(value, start.params[name]) for name, value in state.params.items())
    assert (outcome.uplink_bytes, outcome.messages) == (0, 0)


def test_frozen_parameters_stay(federation: Callable[..., FederatedData], task: Callable[..., Task]) -> None:
    made = task()
    made.model.get_submodule("0").requires_grad_(False)
    frozen = Task(made.model, 3)
    work = make_work(frozen)
    program = build(MedianProgram(name="median"), ProgramContext(work, np.array(SIZES), Training()))
    start = program.init(frozen.init(torch.float64))
    state, outcome = program.round(start, Cohort(1, EVERYONE), Sequential(federation(SIZES), STREAMS), STREAMS)
    assert torch.equal(state.params["0.weight"], start.params["0.weight"])
    assert not torch.equal(state.params["2.weight"], start.params["2.weight"])
    assert outcome.uplink_bytes < 7 * message_bytes(start.params)


def test_unit_client_is_refused_and_unit_sample_is_not(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    plan = PrivacyPlan("client", 0.1, 2.0, 1e-3, sampling="everyone")
    section = MedianProgram(name="median")
    with pytest.raises(PrivacyError, match=r"privacy\.unit client needs a noised sum"):
        build(section, ProgramContext(make_work(task(), plan), np.array(SIZES), Training()))
    work = make_work(task(), PrivacyPlan("sample", 1.0, 1.0, 1e-3, expected_size=8))
    program = build(section, ProgramContext(work, np.array(SIZES), Training()))
    start = program.init(work.task.init(torch.float64))
    state, outcome = program.round(start, Cohort(1, EVERYONE), Sequential(federation(SIZES), STREAMS), STREAMS)
    assert not torch.equal(state.params["2.weight"], start.params["2.weight"])
    assert outcome.steps == dict.fromkeys(EVERYONE, 2)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (KrumProgram(name="krum", malicious=3), r"krum over a population of 7 clients: malicious 3 needs 2 \* 3 \+ 3"),
        (TrimmedMeanProgram(name="trimmed_mean", trim=0.1), "trim 0.1 leaves out nothing of fewer than 10"),
    ],
)
def test_a_population_too_small_is_refused(section: RobustSection, message: str, task: Callable[..., Task]) -> None:
    with pytest.raises(StudyError, match=message):
        build(section, ProgramContext(make_work(task()), np.array(SIZES), Training()))


def test_a_rule_is_a_function_of_updates_and_weights() -> None:
    updates = torch.tensor([[0.0], [1.0], [5.0]])
    rule = make_rule(GeometricMedianProgram(name="geometric_median", weights="size", iterations=500))
    last = torch.zeros(1)
    assert rule(updates, torch.tensor([1.0, 1.0, 9.0]), last).item() == pytest.approx(5.0, abs=1e-4)
    assert make_rule(MedianProgram(name="median"))(updates, torch.ones(3), last).item() == 1.0


def test_centred_clipping_goes_on_from_the_last_round(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    engine, start = Sequential(data, STREAMS), work.task.init(torch.float64)
    section = CentredClippingProgram(name="centred_clipping", radius=0.05)
    program = build(section, ProgramContext(work, np.array(SIZES), Training()))
    state, last = program.init(start), torch.zeros(p.count(start), dtype=torch.float64)
    for number in (1, 2, 3):
        results = engine.run_cohort(work, EVERYONE, state.params, number)
        updates = torch.stack([p.flatten(result.update) for result in results])
        expected = rules.centred_clipping(updates, 0.05, 1, last)
        after, _ = program.round(state, Cohort(number, EVERYONE), engine, STREAMS)
        last = p.flatten(after.params) - p.flatten(state.params)
        torch.testing.assert_close(last, expected)
        state = after
    assert float(last.norm()) > 0.05  # further than one round alone could go


def test_rules_that_remember_nothing_keep_nothing(task: Callable[..., Task]) -> None:
    work = make_work(task())
    program = build(MedianProgram(name="median"), ProgramContext(work, np.array(SIZES), Training()))
    assert program.init(work.task.init(torch.float64)).extra == {}


def test_clients_that_send_no_numbers_are_left_out_before_they_are_mixed(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data, work = federation(SIZES), make_work(task())
    start = work.task.init(torch.float64)
    engine = Spoilt(data, STREAMS)
    engine.spoilt = (1, 5)
    for before in (PreAggregation(rule="nnm", malicious=3), PreAggregation(rule="bucketing", bucket_size=2)):
        section = MedianProgram(name="median", pre_aggregation=before)
        program = build(section, ProgramContext(work, np.array(SIZES), Training()))
        state, outcome = program.round(program.init(start), Cohort(1, EVERYONE), engine, STREAMS)
        assert outcome.measures["dropped"] == 2
        assert p.all_finite(state.params)
