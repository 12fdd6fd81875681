"""Runs a chunk's round from the drawn rows to the updates, by kernels, by `vmap` or client by client.

All ways give the same updates. Kernels are the fastest and support some networks. `vmap` supports most. Networks that
cannot be mapped (a forward that branches on its data, batch statistics that would see padding) run client by client.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from accord.core import params as p
from accord.core.params import Params
from accord.core.streams import NOISE, Streams
from accord.core.timing import Timed
from accord.data.federated import FederatedData, Table
from accord.engines.compiled.network import FLAT, CompiledNetwork
from accord.engines.stacked.layer_gradients import Stack
from accord.engines.stacked.step import KernelStep, mapped_step, square_norms
from accord.engines.vectorised.chunks import BatchLoader, Chunk, Cost
from accord.privacy import noise
from accord.privacy.clipping import factor_of
from accord.program import local
from accord.program.base import ClientId
from accord.program.local import Batch, ClientState, ClientWork

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


@dataclass(frozen=True)
class RoundContext:
    """What every chunk of a round reads.

    Attributes:
        work: what to do.
        shared: the round's parameters.
        number: number of the round.
        data: every client's rows.
        streams: the run's named streams.
        device: where the arithmetic happens.
        carried: state that clients keep from round to round. A chunk writes only that of its own clients.
        timed: a stopwatch.
    """

    work: ClientWork
    shared: Params
    number: int
    data: FederatedData
    streams: Streams
    device: torch.device
    carried: dict[ClientId, Params]
    timed: Timed

    def noise_streams(self, chunk: Chunk) -> list[np.random.Generator]:
        """The noise stream of each client."""
        return [self.streams(NOISE, self.number, client) for client in chunk.clients]

    def feed(self, chunk: Chunk) -> BatchLoader:
        """The chunk's batches."""
        return BatchLoader(self.data, chunk, self.work.dtype, self.device)

    def start(self, client: ClientId) -> ClientState:
        """A client's state before its first step."""
        return local.start(self.work, self.shared, self.carried.get(client, local.NOTHING))


@dataclass(frozen=True)
class ChunkResult:
    """A chunk's stacked updates.

    Attributes:
        chunk: the chunk.
        updates: name to `[clients, ...]`.
        packed: whether updates are in the kernels' layout.
        factors: factor by which each client's update must still be multiplied.
        unclipped: whether each client's update was within the clip norm before clipping.
    """

    chunk: Chunk
    updates: Stack
    packed: bool
    factors: list[float]
    unclipped: list[bool]


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
    return _finished(context, chunk, ends, streams)


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


def mapped_chunk(context: RoundContext, chunk: Chunk) -> ChunkResult:
    """Runs a chunk by `vmap` of the local step, or client by client where the step cannot be mapped."""
    streams = context.noise_streams(chunk)
    if context.work.task.keeps_statistics() or not _mappable(context):
        ends = [_single_client(context, chunk.only(i), streams[i]) for i in range(len(chunk.clients))]
        return _finished(context, chunk, ends, streams)
    state = _mapped(context, chunk, streams)
    ends = [tree_map(lambda leaf, i=i: leaf[i], state) for i in range(len(chunk.clients))]
    return _finished(context, chunk, ends, streams)


def _entered(context: RoundContext, kernels: Kernels, chunk: Chunk) -> Stack:
    """The parameters at which each client starts, the round's or those it carries."""
    stack = {name: _copies(value, len(chunk.clients)) for name, value in kernels.start.items()}
    if context.work.rule.own:
        own = kernels.step.network.enter(_stack([context.start(client).trainable for client in chunk.clients]))
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
        offset = kernels.step.network.enter(_stack([context.start(client).offset for client in chunk.clients]))
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


def _finished(
    context: RoundContext, chunk: Chunk, ends: Sequence[ClientState], streams: Sequence[np.random.Generator]
) -> ChunkResult:
    """Applies `local.finish` client by client, and stores what the clients carry."""
    work, finished = context.work, []
    with context.timed("clipping"):
        for i, client in enumerate(chunk.clients):
            sent_noise = local.sent_noise(work, context.shared, streams[i])
            done = local.finish(work, ends[i], context.shared, int(chunk.steps[i]), sent_noise)
            if work.rule.carries:
                with torch.inference_mode(False):  # tensors made in inference mode can never be trained on
                    carried = {name: value.clone() for name, value in done.carried.items()}
                context.carried[client] = context.carried.get(client, {}) | carried
            finished.append(done)
    updates = _stack([done.update for done in finished])
    return ChunkResult(chunk, updates, False, [1.0] * len(finished), [done.unclipped for done in finished])


def _mapped(context: RoundContext, chunk: Chunk, streams: Sequence[np.random.Generator]) -> ClientState:
    """Runs all steps of a chunk under `vmap`, and returns the final states with clients first."""
    work, clients = context.work, len(chunk.clients)
    state = tree_map(lambda *leaves: torch.stack(leaves), *[context.start(client) for client in chunk.clients])
    values = [local.divisor(work, n) for n in chunk.num_rows]
    divisors = torch.tensor(values, dtype=work.dtype, device=context.device)
    feed = context.feed(chunk)
    for t, live in enumerate(chunk.live):
        with context.timed("noise"):
            noises = [local.step_noise(work, context.shared, stream) for stream in streams[:live]]
            stacked = (
                _stack([client_noise for client_noise in noises if client_noise is not None])
                if noises[0] is not None
                else None
            )
        now = tree_map(lambda leaf, live=live: leaf[:live], state)
        with context.timed("data"):
            batch = feed.batch(t)
        with context.timed("local training"):
            after = mapped_step(work, now, batch, divisors[:live], stacked)
        # States are immutable here, so finished clients' final states are appended again.
        if live < clients:
            after = tree_map(lambda new, old, live=live: torch.cat([new, old[live:]]), after, state)
        state = after
    return state  # type: ignore[no-any-return]


def _single_client(context: RoundContext, chunk: Chunk, stream: np.random.Generator) -> ClientState:
    """Runs the only client of a chunk step by step, without padding and without `vmap`."""
    work, feed, state = context.work, context.feed(chunk), context.start(chunk.clients[0])
    for t in range(len(chunk.live)):
        with context.timed("noise"):
            step_noise = local.step_noise(work, context.shared, stream)
        with context.timed("data"):
            batch = Batch(*(part[0] for part in feed.batch(t)))
        with context.timed("local training"):
            state = local.step(work, state, batch, local.divisor(work, chunk.num_rows[0]), step_noise)
    return state


def _mappable(context: RoundContext) -> bool:
    """Whether the network's step can be mapped over clients, found by trying a step on a row of zeros."""
    work, table = context.work, context.data.data.train
    row = Table.features(torch.zeros_like(table.x[:1]), context.device, work.dtype)
    weight = torch.zeros(1, dtype=work.dtype, device=context.device)
    batch = Batch(row, torch.zeros_like(table.y[:1]).to(context.device), weight)
    silent = None if work.local_plan is None else p.zeros_like({n: context.shared[n] for n in work.task.trainable})
    state, rows, divisors = tree_map(lambda leaf: leaf.unsqueeze(0), (context.start(-1), batch, weight[0] + 1))
    quiet = None if silent is None else {name: value.unsqueeze(0) for name, value in silent.items()}
    try:
        mapped_step(work, state, rows, divisors, quiet)
    except (RuntimeError, ValueError):  # an error of the network itself recurs later, and is then a ClientError
        return False
    return True


def _copies(value: Tensor, clients: int) -> Tensor:
    """Copies `[1, a, b]` to `[clients, a, b]`, with the same memory order of axes as `value`."""
    if value.is_contiguous():
        return value.expand(clients, -1, -1).clone(memory_format=torch.contiguous_format)
    return _copies(value.transpose(1, 2), clients).transpose(1, 2)


def _stack(parts: Sequence[Params]) -> Params:
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
