"""A program of one's own runs as a built-in one does. tests/test_testing.py tests its guard, as users meet it."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from accord.config.schema import Study
from accord.core.errors import PrivacyError, StudyError
from accord.core.params import Params
from accord.orchestration.prepare import prepare
from accord.orchestration.prepared import Prepared
from accord.program import local
from accord.program.base import Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.custom import GuardedEngine, guarded
from accord.program.fedavg import fedavg
from accord.program.local import ClientWork
from accord.program.local_rule import LocalRule
from accord.program.optimizers import sgd


def own(context: ProgramContext) -> Program:
    return fedavg(context.work, lambda client: 1.0, context.population)


def test_it_runs_as_a_built_in_one(small_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "my_own", sys.modules[__name__])
    states = []
    programs: list[dict[str, Any]] = [
        {"name": "custom", "function": "my_own:own"},
        {"name": "fedavg", "weights": "uniform"},
    ]
    for program in programs:
        prepared = prepare(small_study(program=program | {"rounds": 2}))
        state = prepared.program.init(prepared.initial)
        for number in (1, 2):
            state, _ = prepared.program.round(state, Cohort(number, (0, 2, 4)), prepared.engine, prepared.streams)
        states.append(state.params)
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_what_clients_keep_is_not_written(small_study: Callable[..., Study]) -> None:
    prepared = prepare(small_study())
    engine = GuardedEngine(prepared.engine, Cohort(1, (0,)), prepared.work, [], "mine")
    assert engine.carried == {}
    with pytest.raises(StudyError, match="mine writes what clients keep"):
        engine.carried = {}


PRIVACY = {"noise_multiplier": 1.0, "delta": 1e-3, "clip_norm": 0.3}
Change = Callable[[ClientWork], ClientWork]


def private(small_study: Callable[..., Study], unit: str, **training: Any) -> Prepared:
    return prepare(small_study(privacy=PRIVACY | {"unit": unit}, training={"batch_size": 8} | training))


def context_of(prepared: Prepared) -> ProgramContext:
    return ProgramContext(prepared.work, prepared.federated.train.sizes(), prepared.study.training)


def one_round(prepared: Prepared, function: Callable[[ProgramContext], Program]) -> RoundOutcome:
    program = guarded(function, context_of(prepared), {}, "mine")
    cohort = Cohort(1, (0, 2, 4))
    return program.round(program.init(prepared.initial), cohort, prepared.engine, prepared.streams)[1]


def changed(change: Change) -> Callable[[ProgramContext], Program]:
    """Federated averaging of the context's work as `change` returns it."""

    def function(context: ProgramContext) -> Program:
        program = fedavg(change(context.work), lambda client: 1.0, context.population)
        return Program(program.init, program.round, ("sample", "batch", "local"))

    return function


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("local_epochs", lambda work: replace(work, local_epochs=None, local_steps=50)),
        ("local_epochs", lambda work: replace(work, local_epochs=3)),
        ("task", lambda work: replace(work, task=replace(work.task, loss=lambda outputs, targets: outputs[:, 0]))),
        ("optimizer", lambda work: replace(work, optimizer=sgd(0.5))),
        ("optimizer_at", lambda work: replace(work, optimizer_at=lambda number: sgd(0.5))),
        ("plan", lambda work: replace(work, plan=replace(work.plan, noise_multiplier=0.5))),
        ("dtype", lambda work: replace(work, dtype=torch.float64)),
    ],
)
@pytest.mark.parametrize("unit", ["sample", "batch", "local"])
def test_under_privacy_work_is_what_is_charged_for(
    small_study: Callable[..., Study], unit: str, field: str, change: Change
) -> None:
    with pytest.raises(PrivacyError, match=f"client work has another {field} than its context's work"):
        one_round(private(small_study, unit), changed(change))


def test_batches_too_are_what_is_charged_for(small_study: Callable[..., Study]) -> None:
    # Under the units `sample` and `batch` the work itself refuses another batch size than its plan's.
    with pytest.raises(PrivacyError, match="client work has another batch_size"):
        one_round(private(small_study, "local"), changed(lambda work: replace(work, batch_size=1)))


def test_work_that_only_claims_to_be_equal_is_not_run(small_study: Callable[..., Study]) -> None:
    class Equal(int):
        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = int.__hash__

    prepared = private(small_study, "sample", local_epochs=1)
    outcome = one_round(prepared, changed(lambda work: replace(work, local_epochs=Equal(9))))
    sizes = prepared.federated.train.sizes()
    assert outcome.steps == {client: prepared.work.steps(int(sizes[client])) for client in (0, 2, 4)}


def test_a_program_may_replace_the_rule(small_study: Callable[..., Study]) -> None:
    outcome = one_round(
        private(small_study, "sample"), changed(lambda work: replace(work, rule=LocalRule(proximal=0.1)))
    )
    assert set(outcome.steps) == {0, 2, 4}


@pytest.mark.parametrize("reported", [{}, {0: 1, 2: 1, 4: 1}])
def test_steps_are_those_that_clients_took(small_study: Callable[..., Study], reported: dict[int, int]) -> None:
    def function(context: ProgramContext) -> Program:
        program = changed(lambda work: work)(context)

        def silent(state: ServerState, cohort: Cohort, engine: Engine, streams: Any) -> tuple[ServerState, Any]:
            after, outcome = program.round(state, cohort, engine, streams)
            return after, replace(outcome, steps=reported)

        return replace(program, round=silent)

    with pytest.raises(PrivacyError, match=r"mine: reports (no|1) local steps of client 0, which took \d+"):
        one_round(private(small_study, "sample", local_epochs=3), function)


@pytest.mark.parametrize("unit", ["sample", "batch", "local"])
@pytest.mark.parametrize("summed", [False, True])
def test_programs_see_no_value_without_noise(small_study: Callable[..., Study], unit: str, summed: bool) -> None:
    prepared = private(small_study, unit, local_epochs=2)
    sizes = prepared.federated.train.sizes().tolist()
    cohort, shared = (0, 1, 2, 3, 4), prepared.initial
    guard = GuardedEngine(prepared.engine, Cohort(1, cohort), prepared.work, sizes, "mine")
    real = list(prepared.engine.run_cohort(prepared.work, cohort, shared, 1))
    assert unit != "local" or not all(result.unclipped for result in real)
    seen: dict[int, int]
    if summed:
        total = guard.sum_cohort(prepared.work, cohort, shared, 1, [1.0] * 5)
        seen = dict(total.samples)
        assert (total.unclipped, total.padding) == (5, 0)
    else:
        results = list(guard.run_cohort(prepared.work, cohort, shared, 1))
        seen = {result.client: result.samples for result in results}
        assert all(result.unclipped for result in results)
        same: list[tuple[Params, Params]] = [(a.update, b.update) for a, b in zip(results, real, strict=True)]
        assert all(torch.equal(a[name], b[name]) for a, b in same for name in a)
    if unit == "local":  # shuffled passes: every row twice
        assert seen == {client: 2 * n for client, n in enumerate(sizes[:5])}
    else:  # steps times rate times rows
        assert seen == {c: round(2 * -(-n // min(8, n)) * min(8, n)) for c, n in enumerate(sizes[:5])}
        assert seen != {result.client: result.samples for result in real}
    assert guard.steps == {result.client: result.steps for result in real}


def test_without_privacy_nothing_is_replaced(small_study: Callable[..., Study]) -> None:
    prepared = prepare(small_study())
    sizes = prepared.federated.train.sizes().tolist()
    guard = GuardedEngine(prepared.engine, Cohort(1, (0, 1)), prepared.work, sizes, "mine")
    longer = replace(prepared.work, local_epochs=None, local_steps=7)
    assert [result.steps for result in guard.run_cohort(longer, (0, 1), prepared.initial, 1)] == [7, 7]
    # Twice in a round, as Ditto does.
    assert [result.steps for result in guard.run_cohort(longer, (0, 1), prepared.initial, 1)] == [7, 7]


@pytest.mark.parametrize("length", [(1, None), (3, None), (None, 1), (None, 4), (None, 11)])
@pytest.mark.parametrize("n", [1, 7, 8, 20])
def test_expected_samples_of_shuffled_passes_are_exact(
    small_study: Callable[..., Study], n: int, length: tuple[int | None, int | None]
) -> None:
    work = replace(prepare(small_study()).work, batch_size=8, local_epochs=length[0], local_steps=length[1])
    drawn = local.schedule(work, n, np.random.default_rng(0))
    assert work.expected_samples(n) == int((drawn >= 0).sum())
