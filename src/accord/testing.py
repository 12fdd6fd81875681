"""Checks for user-defined programs, losses and optimisers, to call in the user's own tests.

They check that code keeps the contract of every engine: `sequential` and `vectorised` agree, the same seed gives the
same bits, and state is passed in and returned. A check returns nothing. Where the contract is broken, it raises
`AssertionError` with one line that says what broke it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from accord.config.schema import Study
from accord.core import params as p
from accord.core.params import Params
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.engines.vectorised.speed import Speed
from accord.orchestration.prepare import prepare
from accord.orchestration.prepared import Prepared
from accord.privacy.units import UNITS
from accord.program.base import Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.custom import guarded
from accord.program.custom_parts import check_loss, check_optimizer

__all__ = ["check_loss", "check_optimizer", "check_program", "check_training"]

ProgramFunction = Callable[..., Program]

# Cohorts change in order and size, and clients pause between rounds, so that state kept by position shows.
_COHORTS = ((0, 1, 2, 3, 4), (3, 0, 4), (1, 2, 3), (2, 4))


def check_program(
    function: ProgramFunction,
    settings: Mapping[str, Any] | None = None,
    *,
    training: Mapping[str, Any] | None = None,
    tolerance: float = 1e-9,
) -> None:
    """Runs a program for four rounds over five unequal clients in float64, plain and under each privacy unit it states.

    Args:
        function: `function(context, **settings)` returns the `Program`, as `program.function` of a study names it.
        settings: further keyword arguments.
        training: the study's `training` section, except for `dtype`.
        tolerance: how much the engines may differ, relative to the largest parameter.

    Raises:
        AssertionError: the engines differ, a repeated run or round differs, an input state was changed, parameters are
            not finite, or the outcome does not count the cohort's clients.
        StudyError: the function fails or returns no `Program`.
        PrivacyError: under a unit that it states, the program asks for client work that no ledger was charged for.
    """
    plain = _Trial.of(function, settings or {}, training or {}, None)
    for trial in [plain, *(_Trial.of(function, settings or {}, training or {}, unit) for unit in plain.program.units)]:
        trial.check(tolerance)


def check_training(training: Mapping[str, Any], tolerance: float = 1e-9) -> None:
    """Runs `check_program` on federated averaging with this `training` section: its loss, optimiser and schedule.

    Args:
        training: such as `{"optimizer": "my_module:my_optimizer"}`.
        tolerance: as for `check_program`.

    Raises:
        AssertionError: as for `check_program`.
        StudyError: a function fails or breaks its contract.
    """

    def fedavg(context: ProgramContext) -> Program:
        from accord.program.fedavg import fedavg as make

        program = make(context.work, lambda client: 1.0, context.population)
        return Program(program.init, program.round, context.work.optimizer.units)

    plain = _Trial.of(fedavg, {}, training, None)
    units = [unit for unit in plain.program.units if not UNITS[unit].noises_sum]
    for trial in [plain, *(_Trial.of(fedavg, {}, training, unit) for unit in units)]:
        trial.check(tolerance)


@dataclass(frozen=True)
class _Trial:
    """A program prepared under one unit, or without privacy."""

    prepared: Prepared
    program: Program
    unit: str | None

    @classmethod
    def of(
        cls, function: ProgramFunction, settings: Mapping[str, Any], training: Mapping[str, Any], unit: str | None
    ) -> "_Trial":
        prepared = prepare(_study(training, unit))
        sizes = prepared.federated.train.sizes()
        context = ProgramContext(prepared.work, sizes, prepared.study.training)
        return cls(prepared, guarded(function, context, settings, "program"), unit)

    def check(self, tolerance: float) -> None:
        where = "without privacy" if self.unit is None else f"under privacy.unit {self.unit}"
        # Fresh engines each time: only the seed may carry over from one run to the next.
        first_run, again = list(self._rounds(self._sequential())), list(self._rounds(self._sequential()))
        other = list(self._rounds(self._vectorised()))
        for number, ((state, outcome), (repeated, _), (stacked, counted)) in enumerate(
            zip(first_run, again, other, strict=True), 1
        ):
            at = f"{where}, round {number}"
            _require(_same(state, repeated), f"{at}: a second run with the same seed gives other values")
            for found in (outcome, counted):
                expected = set(_COHORTS[number - 1])
                _require(set(found.steps) == set(found.samples) == expected, f"{at}: the outcome misses clients")
            _close(state.params, stacked.params, tolerance, f"{at}: parameters of sequential and vectorised")
            _close(state.extra, stacked.extra, tolerance, f"{at}: the server's values of sequential and vectorised")

    def _rounds(self, engine: Engine) -> Iterator[tuple[ServerState, RoundOutcome]]:
        state = self.program.init(self.prepared.initial)
        for number, clients in enumerate(_COHORTS, 1):
            before, carried = _copied(state), {client: dict(value) for client, value in engine.carried.items()}
            after, outcome = self.program.round(state, Cohort(number, clients), engine, self.prepared.streams)
            _require(p.all_finite(after.params), f"round {number}: parameters are not finite")
            _require(_same(state, before), f"round {number}: the state that went in was changed; return a new one")
            # The round is repeated from the clients' state before it, and then continues from the state after it.
            after_round, engine.carried = engine.carried, carried
            repeated, _ = self.program.round(state, Cohort(number, clients), engine, self.prepared.streams)
            _require(_same(after, repeated), f"round {number}: done again from the same state, it gives other values")
            engine.carried = after_round
            yield after, outcome
            state = after

    def _sequential(self) -> Engine:
        return Sequential(self.prepared.federated, self.prepared.streams)

    def _vectorised(self) -> Engine:
        return Vectorised(self.prepared.federated, self.prepared.streams, speed=Speed(compile=False))


def _study(training: Mapping[str, Any], unit: str | None) -> Study:
    """Builds a study of five clients of unequal sizes, in float64."""
    sections: dict[str, Any] = {
        "data": {"name": "synthetic", "train_rows": 120, "test_rows": 20, "features": 4, "classes": 3},
        # Batches of 8 do not divide these sizes, so that padding is tested, too.
        "partition": {"name": "size", "partition_sizes": [10, 20, 15, 45, 30]},
        "model": {"name": "mlp", "hidden": [5]},
        "training": {"batch_size": 8, **training, "dtype": "float64"},
        "program": {"name": "fedavg", "rounds": len(_COHORTS)},
    }
    if unit is not None:
        sections["privacy"] = {"unit": unit, "noise_multiplier": 1.0, "delta": 1e-3}
    return Study.model_validate(sections)


def _require(holds: bool, broken: str) -> None:
    if not holds:
        raise AssertionError(broken)


def _copied(state: ServerState) -> ServerState:
    copies = ({name: value.clone() for name, value in part.items()} for part in (state.params, state.extra))
    return ServerState(*copies)


def _same(first: ServerState, second: ServerState) -> bool:
    pairs = ((first.params, second.params), (first.extra, second.extra))
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


def _close(first: Params, second: Params, tolerance: float, what: str) -> None:
    _require(first.keys() == second.keys(), f"{what} have other names")
    for name, value in first.items():
        apart, largest = float((value - second[name]).abs().max()), float(value.abs().max())
        # Relative for large parameters, absolute below 1.
        _require(apart <= tolerance * max(1.0, largest), f"{what} lie {apart:.3g} apart in {name!r}")
