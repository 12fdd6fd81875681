"""User-defined programs, and the guard that they run behind.

Under privacy, a user's function does not show whether it charges what it does. So its client work goes through an
engine that allows only what the ledger was asked for: the study's own client work with at most another local rule,
this round's number (which selects noise streams), and this round's clients, each once. What the function does with
noised updates is post-processing. Values without noise are replaced before the function sees them, and the steps that
are compared with the charge are those the engine took, not those the function reports.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from accord.config.programs.custom import CustomProgram
from accord.core.errors import PrivacyError, StudyError
from accord.core.params import Params
from accord.core.plugins import load_function
from accord.core.streams import NOISE, SAMPLING, SERVER_NOISE, Streams
from accord.program.base import ClientId, ClientResult, Cohort, CohortSum, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local import ClientWork


class GuardedEngine:
    """An engine for one round of a program that is not trusted to charge what it does.

    Args:
        engine: where client work runs.
        cohort: the round's cohort.
        work: the client work that is charged for. Its privacy plan is None without privacy.
        sizes: training rows of each client.
        name: the program's name, for messages.

    Attributes:
        steps: local steps that each client took, as the engine reports them.
    """

    def __init__(self, engine: Engine, cohort: Cohort, work: ClientWork, sizes: Sequence[int], name: str) -> None:
        self._engine = engine
        self._cohort = cohort
        self._work = work
        self._sizes = sizes
        self._name = name
        self._left = set(cohort.clients)
        self.steps: dict[ClientId, int] = {}

    @property
    def carried(self) -> dict[ClientId, Params]:
        """What clients keep between rounds, which no program may read under privacy.

        Raises:
            PrivacyError: always under privacy.
        """
        if self._private:
            raise PrivacyError(f"{self._name} reads what clients keep to themselves")
        return self._engine.carried

    @carried.setter
    def carried(self, carried: dict[ClientId, Params]) -> None:
        raise StudyError(f"{self._name} writes what clients keep to themselves")

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int
    ) -> Iterator[ClientResult]:
        """Runs the engine's method once the request is allowed.

        Under privacy, a result's `samples` are expected ones, and its `unclipped` is True.
        """
        clients = tuple(cohort)
        work = self._allowed(work, clients, round_number)
        return self._recorded(self._engine.run_cohort(work, clients, shared, self._cohort.round))

    def sum_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int, weights: Sequence[float]
    ) -> CohortSum:
        """Runs the engine's method once the request is allowed.

        Under privacy, `samples` are expected ones, `unclipped` counts every client, and `padding` is 0.
        """
        clients = tuple(cohort)
        work = self._allowed(work, clients, round_number)
        summed = self._engine.sum_cohort(work, clients, shared, self._cohort.round, weights)
        if not self._private:
            return summed
        self.steps.update(summed.steps)
        samples = {client: self._expected(client) for client in summed.samples}
        return CohortSum(summed.total, samples, summed.steps, unclipped=len(clients))

    def client_losses(self, work: ClientWork, cohort: Sequence[ClientId], shared: Params) -> list[float]:
        """Runs the engine's method, but refuses under privacy, whatever plan the work has."""
        if self._private:
            raise PrivacyError(f"{self._name}: no noise covers the losses it asks for")
        return self._engine.client_losses(work, cohort, shared)

    def checked(self, outcome: RoundOutcome) -> RoundOutcome:
        """Returns a round's outcome with the steps that clients took.

        Raises:
            PrivacyError: under privacy, the outcome reports other steps.
        """
        if not self._private:
            return outcome
        for client in sorted(set(outcome.steps) | set(self.steps)):
            reported, taken = outcome.steps.get(client), self.steps.get(client)
            if reported != taken:
                raise PrivacyError(
                    f"{self._name}: reports {reported or 'no'} local steps of client {client}, which took "
                    f"{taken or 'none'}; return the steps of the engine's results"
                )
        samples = {client: self._expected(client) for client in self.steps}
        return replace(outcome, steps=dict(self.steps), samples=samples, padding=0)

    @property
    def _private(self) -> bool:
        return self._work.plan is not None

    def _expected(self, client: ClientId) -> int:
        return self._work.expected_samples(self._sizes[client])

    def _recorded(self, results: Iterator[ClientResult]) -> Iterator[ClientResult]:
        """Records each client's steps, and replaces what has no noise by what depends on no row."""
        for result in results:
            if not self._private:
                yield result
                continue
            self.steps[result.client] = result.steps
            # How many rows a Poisson batch had, and whether an update was clipped, are not covered by the noise.
            yield replace(result, samples=self._expected(result.client), unclipped=True)

    def _allowed(self, work: ClientWork, cohort: Sequence[ClientId], round_number: int) -> ClientWork:
        """Returns the work to run, once the request is one that was charged for."""
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
        if not self._private:
            return work
        self._compare(work)
        if not set(cohort) <= self._left or len(set(cohort)) != len(cohort):
            raise PrivacyError(
                f"{self._name}: a client that works twice in a round would be charged once; ask for all of it at once"
            )
        # Removed before the work starts, so that a failed attempt cannot be repeated for free.
        self._left -= set(cohort)
        # Built from the charged work, so that an object that only claims to be equal to it changes nothing.
        return replace(self._work, rule=work.rule)

    def _compare(self, work: ClientWork) -> None:
        # More steps, less noise, or a task that reads rows in another way would cost more than was charged. A rule
        # reads only what is noised, or is clipped and noised after it.
        for each in fields(ClientWork):
            given, charged = getattr(work, each.name), getattr(self._work, each.name)
            if each.name != "rule" and given is not charged and given != charged:
                raise PrivacyError(
                    f"{self._name}: client work has another {each.name} than its context's work, which is what is "
                    "charged for; under privacy only its rule may be replaced"
                )


def guarded_streams(streams: Streams, name: str) -> Streams:
    """Returns the streams that a program may draw from under privacy.

    Without these limits it could draw the noise of its clients again and subtract it.
    """
    reserved = (NOISE, SERVER_NOISE, *SAMPLING)

    def bound(purpose: str, round_number: int, client: int) -> np.random.Generator:
        # A run's own streams have the run's name after a slash.
        if purpose.partition("/")[0] in reserved:
            raise PrivacyError(f"{name}: draws from stream {purpose!r}, which privacy rests on; name one of its own")
        return streams(purpose, round_number, client)

    return bound


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
    # A copy made before the function runs, so that it compares with what is charged for.
    work, sizes = replace(context.work), context.sizes.tolist()
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
    plan, made = work.plan, program
    if plan is not None and plan.unit not in made.units:
        raise PrivacyError(
            f"{where} does not state that it composes with privacy.unit {plan.unit}; let it return "
            f"Program(..., units=({plan.unit!r},)), or use program fedavg"
        )

    def one_round(
        state: ServerState, cohort: Cohort, engine: Engine, streams: Streams
    ) -> tuple[ServerState, RoundOutcome]:
        guard = GuardedEngine(engine, cohort, work, sizes, where)
        allowed = streams if plan is None else guarded_streams(streams, where)
        after, outcome = made.round(state, cohort, guard, allowed)
        return after, guard.checked(outcome)

    return Program(made.init, one_round, made.units)
