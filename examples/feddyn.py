"""FedDyn as a program of one's own: `accord run examples/feddyn.yaml`, from the folder of this file.

D. A. E. Acar, Y. Zhao, R. Matas Navarro, M. Mattina, P. N. Whatmough, V. Saligrama. Federated Learning Based on Dynamic
Regularization. ICLR 2021, arXiv 2111.04263, Algorithm 1. Client k starts from the round's model w and minimises

    L_k(v) - <g_k, v> + alpha/2 ||v - w||^2,   then   g_k <- g_k - alpha (v - w).

The server keeps h, the share of all clients that the cohort S is of m coming in:

    h <- h - alpha / m sum over S of (v_k - w),   w <- mean over S of v_k - h / alpha.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from accord.core.params import Params
from accord.core.streams import Streams
from accord.program.averaging import Averaging, apply_update
from accord.program.base import Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local_rule import LocalRule, RoundEnd, RuleResult

SERVER = "h/"


@dataclass(frozen=True)
class DynamicRegulariser(LocalRule):
    """`proximal` is alpha; a client carries g_k under the prefix and sends nothing of it."""

    prefix = "feddyn/"

    def offset(self, server: Params, client: Params) -> Params:
        """The gradient of -<g_k, v>."""
        return {name: -value for name, value in client.items()}

    def finish(self, end: RoundEnd) -> RuleResult:
        """g_k - alpha (v - w), where the offset was -g_k."""
        g = {name: -end.offset[name] - self.proximal * (end.params[name] - end.start[name]) for name in end.params}
        return RuleResult(carried=g, sent={})


def feddyn(context: ProgramContext, alpha: float = 0.1) -> Program:
    """FedDyn.

    Args:
        context: what Accord hands every program.
        alpha: > 0; small steps far, large holds clients to the round's model.
    """
    work = replace(context.work, rule=DynamicRegulariser(proximal=alpha))
    averaging = Averaging(work, lambda client: 1.0, context.population)
    trained = work.task.trainable

    def init(params: Params) -> ServerState:
        return averaging.start(params, {SERVER + name: torch.zeros_like(params[name]) for name in trained})

    def one_round(
        state: ServerState, cohort: Cohort, engine: Engine, streams: Streams
    ) -> tuple[ServerState, RoundOutcome]:
        mean, _, outcome = averaging.round(state, state.params, cohort, engine, streams)
        share = len(cohort.clients) / context.population
        h = {name: state.extra[SERVER + name] - alpha * share * mean[name] for name in trained}
        step: Mapping[str, Tensor] = {n: d - h[n] / alpha if n in h else d for n, d in mean.items()}
        after = ServerState(apply_update(state.params, step), {SERVER + name: value for name, value in h.items()})
        return after, outcome

    # All that leaves a client is its update, noised under these units. What it carries never leaves.
    return Program(init, one_round, units=("sample", "batch", "local"))
