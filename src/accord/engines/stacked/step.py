"""One local step of many clients at once, by stacked kernels where the network has them and else by `vmap(step)`.

The kernels fuse the update of plain SGD into the product that computes the gradient (`baddbmm_` with the negative
learning rate), so that no gradient tensor is formed. Where a layer's norms allow it, per-sample clipping scales the
loss's gradients by row and does not form per-sample gradients.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from accord.core.errors import PrivacyError
from accord.core.params import Params
from accord.core.timing import Timed, untimed
from accord.engines.stacked.layer_gradients import LayerGradient, Lookup, Product, Stack, Summed, square_sum
from accord.engines.stacked.network import StackedNetwork
from accord.privacy.clipping import factor_of, layers
from accord.privacy.plan import PrivacyPlan
from accord.program import local
from accord.program.local import Batch, ClientState, ClientWork


def mapped_step(
    work: ClientWork, state: ClientState, batch: Batch, divisors: Tensor, noise: Params | None
) -> ClientState:
    """Maps `local.step` over clients. Every leaf of `state`, `batch` and `noise` has clients first."""

    def client_step(state: ClientState, batch: Batch, divisor: Tensor, noise: Params | None) -> ClientState:
        return local.step(work, state, batch, divisor, noise)

    return vmap(client_step, in_dims=(0, 0, 0, None if noise is None else 0))(state, batch, divisors, noise)


class StackedBatch(NamedTuple):
    """Rows of one step of several clients.

    Attributes:
        x: features, `[clients, width, ...]`.
        y: targets, `[clients, width, 1]`.
        weight: 1 for a row and 0 for padding, `[clients, width]`. None where there is no padding.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None


Draw = Callable[[Sequence[Tensor], float], None]
"""Adds each client's noise of this step to its sums and rounds them, as `noise.add_rounded` does.

The sums are `[clients, ...]`, in the model's order of parameters. The number is the standard deviation. The clients are
the first ones of the chunk.
"""


@dataclass(frozen=True)
class KernelStep:
    """A local step by stacked kernels.

    Attributes:
        work: what to do, with any optimiser.
        network: the stacked form of the work's network.
        micro: samples whose gradients are in memory at once, under unit `sample`. It bounds memory, and otherwise
            changes rounding only.
        pieces: least number of pieces into which each batch is cut, under unit `sample`.
        each: a `map` over pieces, which may run them in parallel.
        timed: a stopwatch.
    """

    work: ClientWork
    network: StackedNetwork
    micro: int = 2**31
    pieces: int = 1
    each: Callable[[Callable[[Any], Stack], list[Any]], Iterable[Stack]] = map
    timed: Timed = untimed

    @property
    def fusible(self) -> bool:
        """Whether the step is plain SGD, unclipped or clipped by sample."""
        plan = self.work.local_plan
        return self.work.optimizer.plain_rate is not None and (plan is None or plan.mechanism.clips_samples)

    def fused(self, stack: Stack, batch: StackedBatch, divisors: list[float] | None, draw: Draw | None) -> None:
        """Takes a step of plain SGD, in place.

        Args:
            stack: parameters, changed.
            batch: rows.
            divisors: what each client's noised sum is divided by, under unit `sample`. Otherwise None.
            draw: adds the step's noise and rounds, where the plan noises steps. Called once.

        Raises:
            PrivacyError: noise is due but `draw` is None, or the step cannot be fused.
        """
        rate, plan = self.work.optimizer.plain_rate, self.work.local_plan
        if rate is None or not self.fusible:
            raise PrivacyError("only plain SGD, unclipped or clipped by sample, is fused")
        if plan is None:
            logits, activations = self.network.forward(stack, batch.x)
            g, count = _loss_gradient(logits, batch)
            # Each layer is updated during the backward pass, as soon as its input's gradient has been computed.
            self.network.backward(stack, g, activations, lambda part: part.sgd_step_(stack, rate / count))
            return
        if draw is None or divisors is None:
            raise PrivacyError("privacy.unit sample adds noise in every step, but a step came without")
        # The sum must be noised and rounded before any other use. Added to the weights first, it would be rounded in a
        # way that its sensitivity does not cover.
        noised = self._noised_sum(stack, batch, plan, draw)
        rates = _by_client(noised, [-rate / divisor for divisor in divisors])
        for name, value in stack.items():
            value.addcmul_(noised[name], rates)

    def gradients(self, stack: Stack, batch: StackedBatch, divisors: list[float] | None, draw: Draw | None) -> Stack:
        """The gradients that `local.step` gives its optimiser, in the stack's layout.

        Arguments and errors are those of `fused`.
        """
        plan = self.work.local_plan
        if plan is not None and draw is None:
            raise PrivacyError("the plan adds noise in every step, but a step came without")
        if plan is not None and draw is not None and plan.mechanism.clips_samples and divisors is not None:
            noised = self._noised_sum(stack, batch, plan, draw)
            scale = _by_client(noised, [1 / divisor for divisor in divisors])
            return {name: value.mul_(scale) for name, value in noised.items()}
        if plan is not None and plan.mechanism.clips != "batch":
            raise PrivacyError(f"no stacked mechanism for privacy.unit {plan.unit}")
        out = {name: torch.zeros_like(value) for name, value in stack.items()}
        logits, activations = self.network.forward(stack, batch.x)
        g, count = _loss_gradient(logits, batch)
        # A step of rate -1 from zero leaves the gradient itself.
        self.network.backward(stack, g / count, activations, lambda part: part.sgd_step_(out, -1.0))
        if plan is not None and draw is not None:
            with self.timed("clipping"):
                out = _clipped_updates(out, plan)
            self._noise(out, plan, draw)
        return out

    def _noised_sum(self, stack: Stack, batch: StackedBatch, plan: PrivacyPlan, draw: Draw) -> Stack:
        """Each client's sum of clipped gradients with noise, rounded, as it is released."""
        total = {name: torch.zeros_like(value) for name, value in stack.items()}
        for part in self._clipped(stack, batch, plan):
            part.sgd_step_(total, -1.0)
        self._noise(total, plan, draw)
        return total

    def _noise(self, total: Stack, plan: PrivacyPlan, draw: Draw) -> None:
        """Adds noise to each client's sum and rounds it, in place."""
        with self.timed("noise"):
            views = self.network.in_noise_order(total)
            draw([views[name] for name in self.network.shapes], plan.noise_std_for(self.network.numbers))

    def _clipped(self, stack: Stack, batch: StackedBatch, plan: PrivacyPlan) -> list[LayerGradient]:
        """The parts of the gradient with each row clipped."""
        width = batch.x.shape[1]
        pieces = min(width, max(self.pieces, -(-width * len(batch.y) // self.micro)))
        if pieces == 1:
            return self._clipped_piece(stack, batch, plan)
        # Pieces are added in their order, whatever order threads finish in, so bits do not depend on threads.
        total: Stack = {}
        for sums in self.each(lambda piece: self._piece_sums(stack, piece, plan), _split(batch, pieces)):
            for name, value in sums.items():
                total[name] = total[name] + value if name in total else value
        return [Summed(total)]

    def _piece_sums(self, stack: Stack, piece: StackedBatch, plan: PrivacyPlan) -> Stack:
        """The clipped gradients of one piece, summed over its rows."""
        with torch.inference_mode():  # set for each thread separately, so set again in the pool's threads
            sums: Stack = {}
            for part in self._clipped_piece(stack, piece, plan):
                sums |= part.sums()
            return sums

    def _clipped_piece(self, stack: Stack, batch: StackedBatch, plan: PrivacyPlan) -> list[LayerGradient]:
        """The parts of the gradient of one piece with each row clipped."""
        logits, activations = self.network.forward(stack, batch.x)
        g = _row_gradient(logits, batch.y)
        if batch.weight is not None:
            g.mul_(batch.weight.unsqueeze(2))
        parts: list[LayerGradient] = []
        self.network.backward(stack, g, activations, lambda part: parts.append(_reused(part)))
        with self.timed("clipping"):
            return self._weighted(parts, batch, plan)

    def _weighted(self, parts: list[LayerGradient], batch: StackedBatch, plan: PrivacyPlan) -> list[LayerGradient]:
        """The parts with each row's gradient multiplied by its clipping factor."""
        # Padding has weight 0 twice, in the loss's gradient and in the factor, so it can add nothing.
        groups = [[part] for part in parts] if plan.per_layer else [parts]
        bound = plan.clip_norm / len(groups) ** 0.5
        weighted = []
        for group in groups:
            squares = group[0].squares()
            for part in group[1:]:
                squares = squares + part.squares()
            if not bool(squares.isfinite().all()):
                # 0 * NaN is NaN, so dropped rows must be made finite before they are multiplied by factor 0.
                group = [part.finite() for part in group]
            factor = factor_of(squares, bound)
            if batch.weight is not None:
                factor = factor * batch.weight
            weighted += [part.weighted(factor) for part in group]
        return weighted


def _by_client(stack: Stack, numbers: list[float]) -> Tensor:
    """A factor for each client in the stack's dtype, `[clients, 1, 1]`, to multiply its tensors by."""
    return next(iter(stack.values())).new_tensor(numbers).view(-1, 1, 1)


def square_norms(stack: Stack) -> Tensor:
    """Squared norm over all tensors of each client together, `[clients]`."""
    return torch.stack([square_sum(value.flatten(1)) for value in stack.values()]).sum(0)


def _clipped_updates(stack: Stack, plan: PrivacyPlan) -> Stack:
    """Clips each client's tensors together, or layer by layer."""
    groups = layers(stack) if plan.per_layer else [list(stack)]
    clipped = {}
    for names in groups:
        squares = square_norms({name: stack[name] for name in names})
        factor = factor_of(squares, plan.clip_norm / len(groups) ** 0.5).view(-1, 1, 1)
        for name in names:
            clipped[name] = torch.nan_to_num(stack[name], nan=0.0, posinf=0.0, neginf=0.0) * factor
    return {name: clipped[name] for name in stack}


def _reused(part: LayerGradient) -> LayerGradient:
    """The part in the form that is cheapest where both norms and a weighted sum are needed."""
    return part.reused() if isinstance(part, Product | Lookup) else part


def _loss_gradient(logits: Tensor, batch: StackedBatch) -> tuple[Tensor, float]:
    """Gradient of the loss by the logits (0 on padding), and what it must still be divided by for the mean.

    The divisor is the number of rows where every client has the same number. Otherwise the gradient is already divided,
    and it is 1.
    """
    g = _row_gradient(logits, batch.y)
    if batch.weight is None:
        return g, float(batch.y.shape[1])
    # A product suffices instead of `torch.where`. Padding is rows of zeros, so its gradient is finite wherever the
    # client's parameters are.
    return g.mul_((batch.weight / batch.weight.sum(1, keepdim=True).clamp(min=1.0)).unsqueeze(2)), 1.0


def _row_gradient(logits: Tensor, y: Tensor) -> Tensor:
    """Gradient of each row's loss (`Task.per_sample`) by its outputs.

    It is softmax minus one-hot for classes, and 2 (f(x) - y) for a number.
    """
    if y.is_floating_point():
        return (logits - y).mul_(2)
    # Written out, since PyTorch's softmax takes twice as long for rows this short. The maximum prevents overflow.
    g = (logits - logits.amax(2, keepdim=True)).exp_()
    g.div_(g.sum(2, keepdim=True))
    return g.scatter_(2, y, -1.0, reduce="add")


def _split(batch: StackedBatch, pieces: int) -> list[StackedBatch]:
    """Cuts a batch into pieces along its rows."""
    xs, ys = batch.x.tensor_split(pieces, dim=1), batch.y.tensor_split(pieces, dim=1)
    weights = [None] * pieces if batch.weight is None else batch.weight.tensor_split(pieces, dim=1)
    return [StackedBatch(x, y, weight) for x, y, weight in zip(xs, ys, weights, strict=True)]
