"""User-defined programs, and the guard that they run behind.

Under privacy, a user's function does not show whether it charges what it does. So its client work goes through an
engine that allows only what the ledger was asked for: the study's own privacy plan, this round's number (which selects
noise streams), and this round's clients, each once. What the function does with noised updates is post-processing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from accord.config.programs.custom import CustomProgram
from accord.core.errors import PrivacyError, StudyError
from accord.core.params import Params
from accord.core.plugins import load_function
from accord.core.streams import Streams
from accord.privacy.plan import PrivacyPlan
from accord.program.base import ClientId, ClientResult, Cohort, CohortSum, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local import ClientWork


class GuardedEngine:
    """An engine for one round of a program that is not trusted to charge what it does.

    Args:
        engine: where client work runs.
        cohort: the round's cohort.
        plan: the study's privacy plan, or None without privacy.
        name: the program's name, for messages.
    """

    def __init__(self, engine: Engine, cohort: Cohort, plan: PrivacyPlan | None, name: str) -> None:
        self._engine = engine
        self._cohort = cohort
        self._plan = plan
        self._name = name
        self._left = set(cohort.clients)

    @property
    def carried(self) -> dict[ClientId, Params]:
        """What clients keep between rounds, which no program may read under privacy.

        Raises:
            PrivacyError: always under privacy.
        """
        if self._plan is not None:
            raise PrivacyError(f"{self._name} reads what clients keep to themselves")
        return self._engine.carried

    @carried.setter
    def carried(self, carried: dict[ClientId, Params]) -> None:
        raise StudyError(f"{self._name} writes what clients keep to themselves")

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int
    ) -> Iterator[ClientResult]:
        """Runs the engine's method once the request is allowed."""
        self._allow(work, cohort, round_number)
        return self._engine.run_cohort(work, cohort, shared, round_number)

    def sum_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int, weights: Sequence[float]
    ) -> CohortSum:
        """Runs the engine's method once the request is allowed."""
        self._allow(work, cohort, round_number)
        return self._engine.sum_cohort(work, cohort, shared, round_number, weights)

    def client_losses(self, work: ClientWork, cohort: Sequence[ClientId], shared: Params) -> list[float]:
        """Runs the engine's method, but refuses under privacy, whatever plan the work has."""
        if self._plan is not None:
            raise PrivacyError(f"{self._name}: no noise covers the losses it asks for")
        return self._engine.client_losses(work, cohort, shared)

    def _allow(self, work: ClientWork, cohort: Sequence[ClientId], round_number: int) -> None:
        # Another round's number would draw that round's noise again. Two releases with the same noise differ by data
        # alone.
        if round_number != self._cohort.round:
            raise StudyError(
                f"{self._name}: client work of round {round_number} in round {self._cohort.round}; random "
                "streams go by the round's number"
            )
        strangers = set(cohort) - set(self._cohort.clients)
        if strangers:
            raise StudyError(f"{self._name}: client {min(strangers)} is not in the round's cohort")
        if self._plan is None:
            return
        # Work without the plan, or with less noise, would cost more than was charged.
        if work.plan != self._plan:
            raise PrivacyError(f"{self._name}: client work must have the privacy plan of its context's work")
        if not set(cohort) <= self._left or len(set(cohort)) != len(cohort):
            raise PrivacyError(
                f"{self._name}: a client that works twice in a round would be charged once; ask for all of it at once"
            )
        # Removed before the work starts, so that a failed attempt cannot be repeated for free.
        self._left -= set(cohort)


def build(section: CustomProgram, context: ProgramContext) -> Program:
    """Builds the program that a user's function returns, behind a guard.

    Raises:
        StudyError: there is no such function, it fails, or it returns no `Program`.
        PrivacyError: the program does not state that it composes with the privacy plan's unit.
    """
    function = load_function(section.function, "program.function")
    return guarded(function, context, section.settings, f"program.function {section.function!r}")


def guarded(function: Callable[..., Any], context: ProgramContext, settings: Mapping[str, Any], where: str) -> Program:
    """Returns the program of `function(context, **settings)`, with each round on a `GuardedEngine`.

    Args:
        function: a user's function.
        context: what the program is built from.
        settings: further keyword arguments.
        where: the function's name in messages.

    Raises:
        StudyError: the function fails, or returns no `Program`.
        PrivacyError: the program does not state that it composes with the privacy plan's unit.
    """
    try:
        program = function(context, **settings)
    except (StudyError, PrivacyError):
        raise
    except Exception as error:
        given = ", ".join(["context", *settings])
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise StudyError(f"{where}: fails when called with {given}: {reason}") from error
    if not isinstance(program, Program):
        raise StudyError(f"{where}: must return a Program, but returned a {type(program).__name__}")
    plan, made = context.work.plan, program
    if plan is not None and plan.unit not in made.units:
        raise PrivacyError(
            f"{where} does not state that it composes with privacy.unit {plan.unit}; let it return "
            f"Program(..., units=({plan.unit!r},)), or use program fedavg"
        )

    def one_round(
        state: ServerState, cohort: Cohort, engine: Engine, streams: Streams
    ) -> tuple[ServerState, RoundOutcome]:
        return made.round(state, cohort, GuardedEngine(engine, cohort, plan, where), streams)

    return Program(made.init, one_round, made.units)
