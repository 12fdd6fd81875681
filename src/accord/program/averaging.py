"""The mean update that averaging programs step along, which is weighted, and noised under unit `client`.

H. B. McMahan, D. Ramage, K. Talwar, L. Zhang. Learning Differentially Private Recurrent Language Models. ICLR
2018, arXiv 1710.06963, Algorithm 1: w <- w + (sum_k w_k clip(w_k' - w) + N(0, (z C)^2)) / m. The weights are in [0, 1]
and m is the expected cohort, so that nothing but the noised sum depends on who took part.

G. Andrew, O. Thakkar, H. B. McMahan, S. Ramaswamy. Differentially Private Learning with Adaptive Clipping. NeurIPS
2021, arXiv 1905.03871, Algorithm 1: C <- C exp(-eta_C (b - gamma)), where b is the noised share of updates within the
norm.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from accord.communication.wire import message_bytes
from accord.core import params as p
from accord.core.errors import PrivacyError
from accord.core.params import Params
from accord.core.streams import SERVER_NOISE, Streams
from accord.privacy import noise, rounding
from accord.program.base import SERVER, ClientId, Cohort, CohortSum, Engine, RoundOutcome, ServerState
from accord.program.local import ClientWork

CLIP_NORM = "clip_norm"
"""The name of the clip norm among the server's extra values, where it adapts to the updates."""


@dataclass(frozen=True)
class Averaging:
    """Averages a cohort's updates.

    Attributes:
        work: what each client does. Its plan says whether updates are clipped and their sum noised.
        weigh: a client's weight, >= 0, and in [0, 1] under unit `client`.
        population: the number of clients, from which the private mean's divisor is computed.
    """

    work: ClientWork
    weigh: Callable[[ClientId], float]
    population: int

    def start(self, params: Params, extra: Mapping[str, Tensor] | None = None) -> ServerState:
        """Returns the state before the first round, with further values that the program keeps."""
        carried_over = dict(extra or {})
        plan = self.work.plan
        if plan is not None and plan.adaptive is not None:
            carried_over[CLIP_NORM] = torch.tensor(plan.clip_norm, dtype=torch.float64)
        return ServerState(params, carried_over)

    def round(
        self, state: ServerState, shared: Params, cohort: Cohort, engine: Engine, streams: Streams
    ) -> tuple[Params, dict[str, Tensor], RoundOutcome]:
        """Computes a round's mean update.

        Args:
            state: the state before the round.
            shared: what clients are sent, which is the model and what else the work reads.
            cohort: the clients that take part.
            engine: where they work.
            streams: the run's named streams.

        Returns:
            The mean update by the names clients send, the server's extra values after the round, and its costs.

        Raises:
            PrivacyError: a weight is outside [0, 1] under unit `client`, or is not 1 under adaptive clipping.
        """
        work = self._work_now(state)
        private = work.plan is not None and work.plan.mechanism.noises_sum
        weights = [self.weigh(client) for client in cohort.clients]
        if private and any(not 0 <= weight <= 1 for weight in weights):
            raise PrivacyError("a client's weight lies outside [0, 1]; privacy.unit client has no bound for it")
        summed = engine.sum_cohort(work, cohort.clients, shared, cohort.round, weights)
        extra = state.extra
        measures: dict[str, float] = {}
        if private:
            mean, extra, measures = self._noised(work, summed, state, weights, cohort.round, streams)
        else:
            # A cohort without weight has a sum of zeros, which is its mean.
            mean = p.multiply(summed.total, 1 / sum(weights)) if sum(weights) > 0 else summed.total
        return mean, extra, outcome_of(summed, len(cohort.clients), measures)

    def _work_now(self, state: ServerState) -> ClientWork:
        plan = self.work.plan
        if plan is None or plan.adaptive is None:
            return self.work
        return replace(self.work, plan=replace(plan, clip_norm=float(state.extra[CLIP_NORM])))

    def _noised(
        self,
        work: ClientWork,
        summed: CohortSum,
        state: ServerState,
        weights: list[float],
        round_number: int,
        streams: Streams,
    ) -> tuple[Params, dict[str, Tensor], dict[str, float]]:
        plan = work.plan
        if plan is None or not plan.mechanism.noises_sum:
            raise PrivacyError("the private mean needs a plan of unit client")
        # One stream for both draws, first the sum's noise and then the count's. A repeated round keeps this order.
        stream = streams(SERVER_NOISE, round_number, SERVER)
        std = plan.noise_std_for(p.count(summed.total))
        noise_draw = noise.gaussian(stream, summed.total, std)
        # The expected cohort, not the one that took part: its size is private where cohorts are sampled.
        divisor = plan.divisor(self.population)
        mean = p.multiply(noise.noised(summed.total, noise_draw, std), 1 / divisor)
        if plan.adaptive is None:
            return mean, state.extra, {}
        if any(weight != 1 for weight in weights):
            raise PrivacyError("privacy.adaptive counts clients: it needs program.weights uniform")
        # b_i - 1/2 has sensitivity 1/2, hence 2 sigma_b in the plan's noise.
        count_std = rounding.std_for(plan.adaptive.count_noise, 0.5, 1)
        count = rounding.released(
            torch.tensor(summed.unclipped - len(weights) / 2, dtype=torch.float64),
            torch.tensor(stream.standard_normal(), dtype=torch.float64) * count_std,
            count_std,
        )
        share = float(count) / divisor + 0.5
        clip_norm = plan.clip_norm * math.exp(-plan.adaptive.learning_rate * (share - plan.adaptive.target_quantile))
        after = state.extra | {CLIP_NORM: torch.tensor(clip_norm, dtype=torch.float64)}
        return mean, after, {"clip_norm": plan.clip_norm, "within_clip_norm": share}


def outcome_of(summed: CohortSum, clients: int, measures: Mapping[str, float]) -> RoundOutcome:
    """Returns the costs of a round with one message down and one up for each client."""
    size = clients * message_bytes(summed.total)
    return RoundOutcome(summed.samples, summed.steps, size, size, 2 * clients, summed.padding, measures)


def apply_update(params: Params, update: Mapping[str, Tensor]) -> Params:
    """Returns `params + update`. Names that the update lacks (frozen parameters) keep their values."""
    return {name: value + update[name] if name in update else value for name, value in params.items()}
