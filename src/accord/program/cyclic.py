"""Cyclic weight transfer: the model goes from client to client, each trains it further, and nothing is averaged.

K. Chang et al. Distributed deep learning networks among institutions for medical imaging. JAMIA 25(8), 2018.
One round is one pass over the cohort. Each transfer goes through the server, with one message down and one up.
"""

from typing import Literal

from accord.communication.wire import message_bytes
from accord.config.programs.cyclic import CyclicProgram
from accord.core.errors import PrivacyError
from accord.core.streams import Streams
from accord.program.averaging import apply_update
from accord.program.base import SERVER, Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local import ClientWork


def cyclic(work: ClientWork, order: Literal["fixed", "shuffled"] = "fixed") -> Program:
    """Cyclic weight transfer.

    Args:
        work: what each client does at its turn.
        order: `fixed` visits the cohort by number, `shuffled` in an order that is drawn for each round.

    Raises:
        PrivacyError: unit `client`, whose noise belongs on a sum that this program does not form.
    """
    if work.plan is not None and work.plan.mechanism.noises_sum:
        raise PrivacyError("privacy.unit client needs a noised sum; program cyclic has none, use fedavg")

    def round(state: ServerState, cohort: Cohort, engine: Engine, streams: Streams) -> tuple[ServerState, RoundOutcome]:
        clients = list(cohort.clients)
        if order == "shuffled":
            streams("order", cohort.round, SERVER).shuffle(clients)
        params, size = state.params, 0
        samples: dict[int, int] = {}
        steps: dict[int, int] = {}
        for client in clients:
            # One client at a time, since each starts from the model that the last one trained.
            for result in engine.run_cohort(work, [client], params, cohort.round):
                params = apply_update(params, result.update)
                samples[client], steps[client] = result.samples, result.steps
                size = size or message_bytes(result.update)
        there = len(clients)
        return ServerState(params), RoundOutcome(samples, steps, there * size, there * size, 2 * there)

    return Program(ServerState, round)


def build(section: CyclicProgram, context: ProgramContext) -> Program:
    """Builds the program from its section of a study."""
    return cyclic(context.work, section.order)
