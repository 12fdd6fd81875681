"""Runs a round, and again without those clients that turn out to be missing."""

from accord.engines.federation.engine import MissingClientsError
from accord.orchestration.prepared import Prepared
from accord.orchestration.run_state import Stop
from accord.program.base import Cohort, RoundOutcome, ServerState


def quorum(prepared: Prepared, cohort: int) -> int:
    """Returns the fewest clients that a round needs, of a cohort of so many.

    It is the study's `program.min_clients`, or half the cohort, rounded up. With fewer than the program's `fewest` its
    rule is undefined.
    """
    program = prepared.study.program
    return min(max(program.min_clients or -(-cohort // 2), program.fewest()), cohort)


def run_round(
    prepared: Prepared, server: ServerState, cohort: Cohort, sampled: int
) -> tuple[ServerState, RoundOutcome, tuple[int, ...]] | Stop:
    """Runs a round. Only clients of a federation can be missing; those of a simulation are in this process.

    A program is a function of its state and its cohort, so that a round may be run again with fewer clients. What the
    others answered is there already, so that nobody works twice.

    Args:
        prepared: the prepared study.
        server: the program's state before the round.
        cohort: the round and the clients that were admitted.
        sampled: how many clients were sampled, before any was refused.

    Returns:
        The program's state after the round, its costs and the clients that took part, or why the run ends here.

    Raises:
        Fault: client work failed, or the coordinator cannot be reached.
    """
    clients, need = cohort.clients, quorum(prepared, sampled)
    if prepared.sites is not None:
        clients = prepared.sites.present(clients, need)
    while True:
        if prepared.sites is not None:
            prepared.sites.engine.start_round(cohort.round)
        try:
            after, outcome = prepared.program.round(
                server, Cohort(cohort.round, clients), prepared.engine, prepared.streams
            )
        except MissingClientsError as missing:
            clients = tuple(client for client in clients if client not in missing.reasons)
            if len(clients) < need:
                left = f"{len(clients)} of {sampled} sites are left, {need} needed"
                return Stop("quorum", f"round {cohort.round}: {left}: {missing}")
        else:
            return after, outcome, clients
