"""Runs a chunk's round by `vmap` of the local step, or client by client where the step cannot be mapped."""

from collections.abc import Sequence

import numpy as np
import torch

from accord.core import params as p
from accord.data.federated import Table
from accord.engines.stacked.step import mapped_step
from accord.engines.vectorised.chunk_work import ChunkResult, RoundContext, finish_clients, stack_params
from accord.engines.vectorised.chunks import Chunk
from accord.program import local
from accord.program.local import Batch, ClientState

tree_map = torch.utils._pytree.tree_map


def mapped_chunk(context: RoundContext, chunk: Chunk) -> ChunkResult:
    """Runs a chunk by `vmap` of the local step, or client by client where the step cannot be mapped."""
    streams = context.noise_streams(chunk)
    if context.work.task.keeps_statistics() or not _mappable(context):
        ends = [_single_client(context, chunk.only(i), streams[i]) for i in range(len(chunk.clients))]
        return finish_clients(context, chunk, ends, streams)
    state = _mapped(context, chunk, streams)
    ends = [tree_map(lambda leaf, i=i: leaf[i], state) for i in range(len(chunk.clients))]
    return finish_clients(context, chunk, ends, streams)


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
                stack_params([client_noise for client_noise in noises if client_noise is not None])
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
