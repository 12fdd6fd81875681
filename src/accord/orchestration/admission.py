"""Which clients of a cohort may take part in a round: those whose privacy budget allows it."""

from accord.orchestration.charging import paid
from accord.orchestration.prepared import Prepared
from accord.orchestration.run_state import Stop
from accord.privacy.ledger import Ledger


def admit(
    prepared: Prepared, ledger: Ledger | None, steps: dict[int, int], number: int
) -> tuple[tuple[int, ...], Stop | None]:
    """The cohort's clients that may take part, or why the run ends here.

    Args:
        prepared: the study made ready.
        ledger: the accounts before the round; None without privacy.
        steps: local steps each client of the cohort is due.
        number: of the round.

    Returns:
        The clients admitted, and None; or no client, and why the run stops.
    """
    if ledger is None:
        return tuple(steps), None
    if (charged := paid(prepared.entry, steps, number)) is not None:
        return charged, None
    admitted = ledger.admit(steps)
    spent = ledger.plan.mechanism.shared and ledger.exhausted()
    program = prepared.study.program
    # With fewer than `fewest` clients a robust rule says nothing.
    quorum = max(program.min_clients or -(-len(steps) // 2), program.fewest())
    few = len(admitted) < min(quorum, len(steps))
    if not spent and not few:
        return admitted, None
    left = "the population's" if spent else f"{len(steps) - len(admitted)} of {len(steps)} clients'"
    message = f"round {number} would take {left} privacy budget past epsilon {ledger.plan.budget:g}"
    if ledger.before:
        message += " with what earlier runs charged"
    return (), Stop("quorum" if admitted and not spent else "budget", message)
