"""q-fair federated learning, in which clients with larger losses have larger weights.

T. Li, M. Sanjabi, A. Beirami, V. Smith. Fair Resource Allocation in Federated Learning. ICLR 2020, arXiv 1905.10497,
Algorithm 2 (q-FedAvg). With L = 1 / learning rate, F_k the loss before training and d_k = L (w - w_k),
w <- w - sum_k F_k^q d_k / sum_k (q F_k^(q-1) ||d_k||^2 + L F_k^q).

Both sums are divided by L times the largest F_k^q, which leaves their ratio unchanged. No power then exceeds 1,
whatever q is.
"""

from dataclasses import replace

from accord.config.programs.qffl import QfflProgram
from accord.core import params as p
from accord.core.checks import non_negative, positive
from accord.core.errors import StudyError
from accord.core.streams import Streams
from accord.program.afl import LOSS_BYTES
from accord.program.averaging import apply_update, outcome_of
from accord.program.base import Cohort, CohortSum, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local import ClientWork

_LEAST_LOSS = 1e-10
"""The smallest value that a loss is taken to have, so that F^(q-1) exists."""


def qffl(work: ClientWork, q: float, learning_rate: float) -> Program:
    """q-FedAvg.

    Args:
        work: what each client does.
        q: >= 0. 0 is federated averaging with equal weights.
        learning_rate: of the local steps, 1/L.

    Raises:
        StudyError: the network has buffers, which are not part of the objective.
    """
    non_negative(q=q)
    positive(learning_rate=learning_rate)
    if work.task.buffers:
        raise StudyError("program qffl: the model has buffers (batch norm), which it cannot weigh; use fedavg")

    def round(state: ServerState, cohort: Cohort, engine: Engine, streams: Streams) -> tuple[ServerState, RoundOutcome]:
        losses = [max(loss, _LEAST_LOSS) for loss in engine.client_losses(work, cohort.clients, state.params)]
        largest = max(losses, default=0.0)
        total = p.zeros_like({name: state.params[name] for name in work.sent})
        samples, steps, divisor = {}, {}, 0.0
        results = engine.run_cohort(work, cohort.clients, state.params, cohort.round)
        for result, loss in zip(results, losses, strict=True):
            weight, far = (loss / largest) ** q, p.norm(result.update)
            total = p.add(total, result.update, weight)
            # Multiplied, not squared: a product too large for a float is infinite, but a power raises an error.
            divisor += q * (weight * far / loss * far / learning_rate) + weight
            samples[result.client], steps[result.client] = result.samples, result.steps
        step = p.multiply(total, 1 / divisor) if divisor else total
        summed = CohortSum(total, samples, steps)
        outcome = outcome_of(summed, len(losses), {"worst_loss": largest})
        outcome = replace(outcome, uplink_bytes=outcome.uplink_bytes + LOSS_BYTES * len(losses))
        return ServerState(apply_update(state.params, step)), outcome

    return Program(ServerState, round)


def build(section: QfflProgram, context: ProgramContext) -> Program:
    """Builds the program from its section of a study."""
    return qffl(context.work, section.q, context.training.learning_rate)
