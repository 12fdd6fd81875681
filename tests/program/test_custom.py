"""A program of one's own runs as a built-in one does. tests/test_testing.py tests its guard, as users meet it."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from accord.config.schema import Study
from accord.core.errors import StudyError
from accord.orchestration.prepare import prepare
from accord.program.base import Cohort, Program
from accord.program.context import ProgramContext
from accord.program.custom import GuardedEngine
from accord.program.fedavg import fedavg


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
    engine = GuardedEngine(prepared.engine, Cohort(1, (0,)), None, "mine")
    assert engine.carried == {}
    with pytest.raises(StudyError, match="mine writes what clients keep"):
        engine.carried = {}
