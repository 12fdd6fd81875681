"""One local step of many clients at once: by stacked kernels where the network has them, else `vmap(step)`.

The kernels fuse what plain SGD does with a gradient into the product that makes it (`baddbmm_` with the negative
learning rate), so that no gradient tensor is formed. Per-sample clipping scales the loss's gradients by row instead
of forming per-sample gradients, where a layer's norms allow it.
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
    """`local.step` mapped over clients; every leaf of `state`, `batch` and `noise` has clients first."""

    def one(state: ClientState, batch: Batch, divisor: Tensor, noise: Params | None) -> ClientState:
        return local.step(work, state, batch, divisor, noise)

    return vmap(one, in_dims=(0, 0, 0, None if noise is None else 0))(state, batch, divisors, noise)


class StackedBatch(NamedTuple):
    """Rows of one step of several clients.

    Attributes:
        x: features, `[clients, width, ...]`.
        y: targets, `[clients, width, 1]`.
        weight: 1 for a row and 0 for padding, `[clients, width]`; None where nothing is padding.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None


Draw = Callable[[Sequence[Tensor], float], None]
"""Adds each client's noise of this step to its sums, `[clients, ...]` in the order of the model, and rounds them, as
`noise.add_rounded` does. The number is the standard deviation; the clients are the chunk's first."""


@dataclass(frozen=True)
class KernelStep:
    """A step by stacked kernels, of a network that has them.

    Attributes:
        work: what to do; its optimiser is any.
        network: the stacked form of the work's network.
        micro: samples whose gradients are held at once, under unit `sample`; bounds memory and changes nothing else
            but rounding.
        pieces: into how many each batch is cut at least, under unit `sample`.
        each: `map` over what a step can do side by side.
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
        """A step of plain SGD, in place.

        Args:
            stack: parameters, changed.
            batch: rows.
            divisors: unit `sample`: what each client's noised sum is divided by; else None.
            draw: adds the step's noise and rounds, where the plan noises steps; called once.

        Raises:
            PrivacyError: noise is due and there is no `draw`, or the step cannot be fused.
        """
        rate, plan = self.work.optimizer.plain_rate, self.work.local_plan
        if rate is None or not self.fusible:
            raise PrivacyError("only plain SGD, unclipped or clipped by sample, is fused")
        if plan is None:
            logits, kept = self.network.forward(stack, batch.x)
            g, count = _loss_gradient(logits, batch)
            self.network.backward(stack, g, kept, lambda part: part.sgd_step_(stack, rate / count))
            return
        if draw is None or divisors is None:
            raise PrivacyError("privacy.unit sample adds noise in every step, but a step came without")
        # The sum is noised and rounded before anything else is done with it: added to the weights first, it would be
        # rounded by itself, which its sensitivity does not cover.
        noised = self._noised_sum(stack, batch, plan, draw)
        rates = _by_client(noised, [-rate / divisor for divisor in divisors])
        for name, value in stack.items():
            value.addcmul_(noised[name], rates)

    def gradients(self, stack: Stack, batch: StackedBatch, divisors: list[float] | None, draw: Draw | None) -> Stack:
        """What `local.step` hands its optimiser, in the stack's layout; arguments and errors as in `fused`."""
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
        logits, kept = self.network.forward(stack, batch.x)
        g, count = _loss_gradient(logits, batch)
        self.network.backward(stack, g / count, kept, lambda part: part.sgd_step_(out, -1.0))
        if plan is not None and draw is not None:
            with self.timed("clipping"):
                out = _clipped_whole(out, plan)
            self._noise(out, plan, draw)
        return out

    def _noised_sum(self, stack: Stack, batch: StackedBatch, plan: PrivacyPlan, draw: Draw) -> Stack:
        """What is released of each client's sum of clipped gradients."""
        total = {name: torch.zeros_like(value) for name, value in stack.items()}
        for part in self._clipped(stack, batch, plan):
            part.sgd_step_(total, -1.0)
        self._noise(total, plan, draw)
        return total

    def _noise(self, total: Stack, plan: PrivacyPlan, draw: Draw) -> None:
        """Each client's sum, noised and rounded in place."""
        with self.timed("noise"):
            views = self.network.as_drawn(total)
            draw([views[name] for name in self.network.shapes], plan.noise_std_for(self.network.numbers))

    def _clipped(self, stack: Stack, batch: StackedBatch, plan: PrivacyPlan) -> list[LayerGradient]:
        """The gradient's parts, each row clipped."""
        width = batch.x.shape[1]
        pieces = min(width, max(self.pieces, -(-width * len(batch.y) // self.micro)))
        if pieces == 1:
            return self._clipped_piece(stack, batch, plan)
        total: Stack = {}
        for sums in self.each(lambda piece: self._piece_sums(stack, piece, plan), _split(batch, pieces)):
            for name, value in sums.items():
                total[name] = total[name] + value if name in total else value
        return [Summed(total)]

    def _piece_sums(self, stack: Stack, piece: StackedBatch, plan: PrivacyPlan) -> Stack:
        with torch.inference_mode():  # which belongs to a thread
            sums: Stack = {}
            for part in self._clipped_piece(stack, piece, plan):
                sums |= part.sums()
            return sums

    def _clipped_piece(self, stack: Stack, batch: StackedBatch, plan: PrivacyPlan) -> list[LayerGradient]:
        logits, kept = self.network.forward(stack, batch.x)
        g = _row_gradient(logits, batch.y)
        if batch.weight is not None:
            g.mul_(batch.weight.unsqueeze(2))
        parts: list[LayerGradient] = []
        self.network.backward(stack, g, kept, lambda part: parts.append(_reused(part)))
        with self.timed("clipping"):
            return self._weighted(parts, batch, plan)

    def _weighted(self, parts: list[LayerGradient], batch: StackedBatch, plan: PrivacyPlan) -> list[LayerGradient]:
        """Each row's gradient times its clipping factor."""
        groups = [[part] for part in parts] if plan.per_layer else [parts]
        bound = plan.clip_norm / len(groups) ** 0.5
        weighted = []
        for group in groups:
            squares = group[0].squares()
            for part in group[1:]:
                squares = squares + part.squares()
            if not bool(squares.isfinite().all()):
                # 0 * NaN is NaN: rows that are dropped must be made finite before they are weighted.
                group = [part.finite() for part in group]
            factor = factor_of(squares, bound)
            if batch.weight is not None:
                factor = factor * batch.weight
            weighted += [part.weighted(factor) for part in group]
        return weighted


def _by_client(stack: Stack, numbers: list[float]) -> Tensor:
    """A number for each client, in the stack's dtype, to multiply its tensors with: `[clients, 1, 1]`."""
    return next(iter(stack.values())).new_tensor(numbers).view(-1, 1, 1)


def square_norms(stack: Stack) -> Tensor:
    """Squared norm of each client's tensors together, `[clients]`."""
    return torch.stack([square_sum(value.flatten(1)) for value in stack.values()]).sum(0)


def _clipped_whole(stack: Stack, plan: PrivacyPlan) -> Stack:
    """Each client's tensors clipped together, or layer by layer."""
    groups = layers(stack) if plan.per_layer else [list(stack)]
    clipped = {}
    for names in groups:
        squares = square_norms({name: stack[name] for name in names})
        factor = factor_of(squares, plan.clip_norm / len(groups) ** 0.5).view(-1, 1, 1)
        for name in names:
            clipped[name] = torch.nan_to_num(stack[name], nan=0.0, posinf=0.0, neginf=0.0) * factor
    return {name: clipped[name] for name in stack}


def _reused(part: LayerGradient) -> LayerGradient:
    """The part in the form that is cheapest where norms and a weighted sum are both wanted."""
    return part.reused() if isinstance(part, Product | Lookup) else part


def _loss_gradient(logits: Tensor, batch: StackedBatch) -> tuple[Tensor, float]:
    """Gradient of the loss by the logits (see `_row_gradient`; 0 on padding), and what is left to divide
    it by for the mean: the rows where every client has as many, else 1."""
    g = _row_gradient(logits, batch.y)
    if batch.weight is None:
        return g, float(batch.y.shape[1])
    # Times, not where: padding is rows of zeros, so that its gradient is finite where the client's parameters are.
    return g.mul_((batch.weight / batch.weight.sum(1, keepdim=True).clamp(min=1.0)).unsqueeze(2)), 1.0


def _row_gradient(logits: Tensor, y: Tensor) -> Tensor:
    """Gradient of each row's loss (`Task.per_sample`) by its logits: softmax less one-hot; of a number 2 (f(x) - y)."""
    if y.is_floating_point():
        return (logits - y).mul_(2)
    # Written out: for rows as short as these, PyTorch's softmax takes twice as long.
    g = (logits - logits.amax(2, keepdim=True)).exp_()
    g.div_(g.sum(2, keepdim=True))
    return g.scatter_(2, y, -1.0, reduce="add")


def _split(batch: StackedBatch, pieces: int) -> list[StackedBatch]:
    xs, ys = batch.x.tensor_split(pieces, dim=1), batch.y.tensor_split(pieces, dim=1)
    weights = [None] * pieces if batch.weight is None else batch.weight.tensor_split(pieces, dim=1)
    return [StackedBatch(x, y, weight) for x, y, weight in zip(xs, ys, weights, strict=True)]
