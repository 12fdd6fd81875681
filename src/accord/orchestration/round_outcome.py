"""The outcome of a round: checked against what was charged for it, and turned into a record."""

from dataclasses import replace

import numpy as np

from accord.core import params as p
from accord.core.errors import DivergedError, Fault
from accord.fairness.groups import Integers
from accord.privacy.ledger import Ledger
from accord.program.base import RoundOutcome, ServerState
from accord.program.local import ClientWork
from accord.records.round_record import EpsilonSpread, RoundRecord, TestScores


def check_outcome(server: ServerState, outcome: RoundOutcome, charged: dict[int, int], number: int) -> None:
    """Checks that only the cohort's clients worked, none more than was charged, and that the model is still finite.

    Args:
        server: the program's state after the round.
        outcome: what its clients did.
        charged: local steps that were charged to each client of the cohort.
        number: the round's number.

    Raises:
        DivergedError: a parameter is infinite or NaN.
        Fault: a client is not of the cohort, or took more steps than were charged.
    """
    for client in (*outcome.steps, *outcome.samples):
        if client not in charged:
            raise Fault(
                f"round {number}: the program's outcome names client {client}, who is not in the round's cohort; "
                "report steps and samples of the cohort's clients only"
            )
    for client, steps in outcome.steps.items():
        if steps > charged[client]:
            raise Fault(f"round {number}: client {client} took {steps} local steps, but {charged[client]} were charged")
    if not p.all_finite(server.params):
        raise DivergedError(
            f"round {number}: the model's parameters are no longer finite; lower training.learning_rate, start afresh"
        )


def spread_of(ledger: Ledger | None) -> EpsilonSpread | None:
    """Returns the spread of epsilon over the accounts, or None without privacy."""
    if ledger is None:
        return None
    spent = ledger.epsilons()
    return EpsilonSpread(float(spent.min()), float(np.median(spent)), float(spent.max()))


def without_draws(outcome: RoundOutcome, work: ClientWork, sizes: Integers) -> RoundOutcome:
    """Replaces the rows that Poisson batches drew by the expected number, which is a function of settings and sizes.

    How many rows were drawn has no noise on it, and tells more of a client's rows than is charged.

    Args:
        outcome: a private round's outcome, of simulated clients.
        work: what each client did.
        sizes: training rows of each client, shape `[clients]`.
    """
    return replace(outcome, samples={client: work.expected_samples(int(sizes[client])) for client in outcome.samples})


def make_record(
    number: int,
    cohort: tuple[int, ...],
    admitted: tuple[int, ...],
    outcome: RoundOutcome,
    padding: int | None,
    epsilon: EpsilonSpread | None,
    test: TestScores | None,
    groups: dict[str, dict[str, float]] | None,
    seconds: dict[str, float],
) -> RoundRecord:
    """Builds the record of a round.

    Args:
        number: the round's number.
        cohort: the sampled clients.
        admitted: those of them that took part.
        outcome: what they did.
        padding: computed rows of weight 0, or None where their number would reveal how many rows were drawn.
        epsilon: spread over the clients after the round, or None without privacy.
        test: scores on the test set, or None where the round was not evaluated.
        groups: scores by sensitive group, or None as for `test`.
        seconds: time of each stage.
    """
    taking = set(admitted)
    return RoundRecord(
        round=number,
        cohort=cohort,
        clients=admitted,
        refused=tuple(client for client in cohort if client not in taking),
        samples=sum(outcome.samples.values()),
        steps=sum(outcome.steps.values()),
        test=test,
        groups=groups,
        epsilon=epsilon,
        uplink_bytes=outcome.uplink_bytes,
        downlink_bytes=outcome.downlink_bytes,
        messages=outcome.messages,
        padding=padding,
        seconds=seconds,
        measures=dict(outcome.measures),
    )
