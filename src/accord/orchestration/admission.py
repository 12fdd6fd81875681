"""Selects the clients of a cohort that may take part in a round, which are those whose privacy budget allows it."""

from accord.orchestration.charging import paid
from accord.orchestration.prepared import Prepared
from accord.orchestration.round_attempt import quorum
from accord.orchestration.run_state import Stop
from accord.privacy.ledger import Ledger


def admit(
    prepared: Prepared, ledger: Ledger | None, steps: dict[int, int], number: int
) -> tuple[tuple[int, ...], Stop | None]:
    """Returns the cohort's clients that may take part, or why the run ends here.

    Args:
        prepared: the prepared study.
        ledger: the accounts before the round, or None without privacy.
        steps: local steps that each client of the cohort would take.
        number: the round's number.

    Returns:
        The admitted clients and None, or no clients and the reason why the run stops.
    """
    if ledger is None:
        return tuple(steps), None
    # A round charged before a kill is repeated with the same clients: asking the ledger again could admit others.
    if (charged := paid(prepared.entry, steps, number)) is not None:
        return charged, None
    admitted = ledger.admit(steps)
    spent = ledger.plan.mechanism.shared and ledger.exhausted()
    few = len(admitted) < quorum(prepared, len(steps))
    if not spent and not few:
        return admitted, None
    left = "the population's" if spent else f"{len(steps) - len(admitted)} of {len(steps)} clients'"
    message = f"round {number} would take {left} privacy budget past epsilon {ledger.plan.budget:g}"
    if ledger.before:
        message += " with what earlier runs charged"
    return (), Stop("quorum" if admitted and not spent else "budget", message)
