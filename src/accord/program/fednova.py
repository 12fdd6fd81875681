"""FedNova: each update is divided by the length of its local path before updates are averaged.

J. Wang, Q. Liu, H. Liang, G. Joshi, H. V. Poor. Tackling the Objective Inconsistency Problem in Heterogeneous
Federated Optimization. NeurIPS 2020, arXiv 2007.07481, equations 8 and 9:
w <- w + tau_eff sum_k p_k d_k, d_k = update_k / ||a_k||_1, tau_eff = sum_k p_k ||a_k||_1. For tau_k steps of plain SGD,
||a_k||_1 = tau_k. With momentum rho it is (tau_k - rho (1 - rho^tau_k) / (1 - rho)) / (1 - rho).
"""

from collections.abc import Callable, Mapping

from accord.config.programs.fednova import FedNovaProgram
from accord.core.errors import StudyError
from accord.core.streams import Streams
from accord.program.averaging import apply_update, outcome_of
from accord.program.base import ClientId, Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local import ClientWork


def reach(steps: int, momentum: float) -> float:
    """Returns ||a||_1, the total weight of a client's gradients in its update, in steps.

    >>> reach(4, 0.0), reach(1, 0.9)
    (4.0, 1.0)
    """
    return (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)


def fednova(
    work: ClientWork, weigh: Callable[[ClientId], float], steps: Mapping[ClientId, int], momentum: float
) -> Program:
    """FedNova for local SGD.

    Args:
        work: what each client does.
        weigh: a client's weight, >= 0.
        steps: local steps each client takes in a round.
        momentum: momentum of the local SGD, in [0, 1).

    Raises:
        StudyError: the network has buffers, whose changes are not normalised by steps.
    """
    if work.plan is None and work.task.buffers:
        raise StudyError("program fednova: the model has buffers (batch norm), which it does not normalise; use fedavg")

    def round(state: ServerState, cohort: Cohort, engine: Engine, streams: Streams) -> tuple[ServerState, RoundOutcome]:
        raw = [weigh(client) for client in cohort.clients]
        # The floor avoids 0 / 0 for an empty cohort, or one of zero weight.
        shares = [weight / max(sum(raw), 1e-300) for weight in raw]
        reaches = [reach(max(1, steps[client]), momentum) for client in cohort.clients]
        effective = sum(share * far for share, far in zip(shares, reaches, strict=True))
        weights = [effective * share / far for share, far in zip(shares, reaches, strict=True)]
        summed = engine.sum_cohort(work, cohort.clients, state.params, cohort.round, weights)
        outcome = outcome_of(summed, len(cohort.clients), {"effective_steps": effective})
        return ServerState(apply_update(state.params, summed.total)), outcome

    return Program(ServerState, round)


def build(section: FedNovaProgram, context: ProgramContext) -> Program:
    """Builds the program from its section of a study."""
    steps = {client: context.work.steps(int(n)) for client, n in enumerate(context.sizes)}
    return fednova(context.work, context.weigh(section), steps, context.training.momentum)
