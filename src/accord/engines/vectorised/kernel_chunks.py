"""Runs a chunk's round by kernels, stacked or compiled, from the drawn rows to the updates."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.core import params as p
from accord.core.params import Params
from accord.engines.compiled.network import FLAT, CompiledNetwork
from accord.engines.stacked.layer_gradients import Stack
from accord.engines.stacked.step import KernelStep, square_norms
from accord.engines.vectorised.chunk_work import ChunkResult, RoundContext, finish_clients, stack_params
from accord.engines.vectorised.chunks import Chunk, Cost
from accord.privacy import noise
from accord.privacy.clipping import factor_of
from accord.program import local
from accord.program.local import ClientWork

tree_map = torch.utils._pytree.tree_map


@dataclass(frozen=True)
class Kernels:
    """What a round's chunks share where the network has kernels.

    Attributes:
        step: the stacked step.
        start: the round's parameters as a stack of one client, flat where training is compiled.
        cost: cost of one sample.
        compiled: the network in compiled form. None where the stacked step does the work.
    """

    step: KernelStep
    start: Stack
    cost: Cost
    compiled: CompiledNetwork | None = None

    def leave(self, stack: Stack) -> Params:
        """Parameters by name, `[clients, *shape]`."""
        return (self.compiled or self.step.network).leave(stack)


def sums_packed(work: ClientWork) -> bool:
    """Whether updates are summed in the kernels' layout.

    They are where `local.finish` would only subtract the round's parameters and clip the whole update.
    """
    plan = work.plan
    flat_clipping = plan is None or plan.mechanism.noises_steps or (plan.mechanism.noises_sum and not plan.per_layer)
    return flat_clipping and not work.rule.carries


def stacked_chunk(context: RoundContext, kernels: Kernels, chunk: Chunk) -> ChunkResult:
    """Runs a chunk by stacked kernels."""
    step, work, clients = kernels.step, context.work, len(chunk.clients)
    stack = _entered(context, kernels, chunk)
    feed, streams = context.feed(chunk), context.noise_streams(chunk)
    divisors = [local.divisor(work, n) for n in chunk.num_rows]
    pull = _pull(context, kernels, chunk)
    optimizer = work.optimizer.init(stack)
    # `vmap` over the optimiser needs a client axis on every leaf, also on the step counter.
    optimizer = optimizer._replace(steps=optimizer.steps.expand(clients).clone())
    update = torch.func.vmap(work.optimizer.update)

    def draw(sums: Sequence[Tensor], std: float) -> None:
        # Clients are sorted by steps, so those still training are the first ones, and so are their streams.
        noise.add_rounded(streams[: len(sums[0])], sums, std)

    drawing = None if work.local_plan is None else draw
    now, there = stack, clients
    for t, live in enumerate(chunk.live):
        # A client that has done its steps drops out of the slice. Its parameters stay in `stack` as they are.
        if live < there:
            now, there = {name: value[:live] for name, value in stack.items()}, live
        with context.timed("data"):
            batch = feed.stacked(t)
        # Computed before the step, which changes the parameters that it depends on.
        pulled = None if pull is None else pull(now)
        if step.fusible:
            step.fused(now, batch, divisors[:live], drawing)
            for name, value in (pulled or {}).items():
                now[name].sub_(value, alpha=work.optimizer.plain_rate or 0.0)
            continue
        gradients = step.gradients(now, batch, divisors[:live], drawing)
        if pulled is not None:
            gradients = p.add(gradients, pulled)
        state = tree_map(lambda leaf, live=live: leaf[:live], optimizer)
        after, state = update(gradients, state, now)
        for name, value in after.items():
            now[name].copy_(value)
        for old, new in zip(optimizer[:2], state[:2], strict=True):
            for name, value in new.items():
                old[name][:live] = value
        optimizer.steps[:live] = state.steps
    if sums_packed(work):
        return _packed(context, kernels, chunk, stack)
    # What carries state or clips by layer is finished client by client, by the same code as in other engines.
    left = kernels.leave(stack)
    ends = [
        context.start(client)._replace(trainable={name: value[i] for name, value in left.items()})
        for i, client in enumerate(chunk.clients)
    ]
    return finish_clients(context, chunk, ends, streams)


def compiled_chunk(
    context: RoundContext, kernels: Kernels, network: CompiledNetwork, chunk: Chunk, pool: Executor | None = None
) -> ChunkResult:
    """Runs a chunk by compiled training, client after client.

    Where the cohort has a single client whose steps are large enough, the threads of `pool` share them.
    """
    from accord.engines.compiled.client import Trainer  # brings Numba's compiler

    flat = kernels.start[FLAT].repeat(len(chunk.clients), 1)
    streams = context.noise_streams(chunk)
    trainer = Trainer(context.work, network, context.data.data.train, context.timed)
    for i, num_rows in enumerate(chunk.num_rows):
        steps = int(chunk.steps[i])
        rows, counts = chunk.rows[:steps, i], chunk.counts[:steps, i]
        if kernels.step.pieces > 1:
            trainer.train_in_halves(rows, counts, num_rows, flat[i], streams[i], pool)
        else:
            trainer.train(rows, counts, num_rows, flat[i], streams[i])
    return _packed(context, kernels, chunk, {FLAT: flat})


def _entered(context: RoundContext, kernels: Kernels, chunk: Chunk) -> Stack:
    """The parameters at which each client starts, the round's or those it carries."""
    stack = {name: _copies(value, len(chunk.clients)) for name, value in kernels.start.items()}
    if context.work.rule.own:
        own = kernels.step.network.enter(stack_params([context.start(client).trainable for client in chunk.clients]))
        for name, value in stack.items():
            value.copy_(own[name])
    return stack


def _pull(context: RoundContext, kernels: Kernels, chunk: Chunk) -> Callable[[Stack], Stack] | None:
    """Computes what the rule adds to the gradients of a chunk's first clients, in the kernels' layout."""
    rule = context.work.rule
    if not rule.corrects:
        return None
    offset: Stack = {}
    if rule.has_offset:
        offset = kernels.step.network.enter(stack_params([context.start(client).offset for client in chunk.clients]))
    anchor = kernels.start if rule.anchored else {}

    def pull(now: Stack) -> Stack:
        live = len(next(iter(now.values())))
        return rule.correction(now, anchor, {name: value[:live] for name, value in offset.items()})

    return pull


def _packed(context: RoundContext, kernels: Kernels, chunk: Chunk, stack: Stack) -> ChunkResult:
    """The updates in the kernels' layout, computed in place of `stack`."""
    for name, value in stack.items():
        value.sub_(kernels.start[name])
    factors, plan = [1.0] * len(chunk.clients), context.work.plan
    if plan is not None and plan.mechanism.noises_sum:
        # The clipped update is not formed. The factor is applied when the update is added to the cohort's sum.
        with context.timed("clipping"):
            factors = factor_of(square_norms(stack), plan.clip_norm).tolist()
    return ChunkResult(chunk, stack, True, factors, [factor == 1 for factor in factors])


def _copies(value: Tensor, clients: int) -> Tensor:
    """Copies `[1, a, b]` to `[clients, a, b]`, with the same memory order of axes as `value`."""
    if value.is_contiguous():
        return value.expand(clients, -1, -1).clone(memory_format=torch.contiguous_format)
    return _copies(value.transpose(1, 2), clients).transpose(1, 2)
