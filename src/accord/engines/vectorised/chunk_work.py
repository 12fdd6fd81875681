"""What a chunk's round reads and gives, whichever way it runs: by kernels, by `vmap` or client by client.

All ways give the same updates. Kernels are the fastest and support some networks. `vmap` supports most. Networks that
cannot be mapped (a forward that branches on its data, batch statistics that would see padding) run client by client.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from accord.core.params import Params
from accord.core.streams import NOISE, Streams
from accord.core.timing import Timed
from accord.data.federated import FederatedData
from accord.engines.stacked.layer_gradients import Stack
from accord.engines.vectorised.chunks import BatchLoader, Chunk
from accord.program import local
from accord.program.base import ClientId
from accord.program.local import ClientState, ClientWork


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

    def update(self, i: int) -> Params:
        """The update of the chunk's client `i`, new tensors. It is 0 for factor 0, even where the update is NaN."""
        factor = self.factors[i]
        return {
            name: torch.zeros_like(value[i]) if factor == 0 else value[i] * factor
            for name, value in self.updates.items()
        }

    def add_to(self, partial: Params, i: int, weight: float) -> None:
        """Adds the weighted update of the chunk's client `i` to `partial`, in place."""
        # Factor 0 marks an update that may be NaN. It is skipped, since 0 * NaN is NaN.
        if self.factors[i] != 0:
            for name, value in partial.items():
                value.add_(self.updates[name][i], alpha=weight * self.factors[i])


def finish_clients(
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
    updates = stack_params([done.update for done in finished])
    return ChunkResult(chunk, updates, False, [1.0] * len(finished), [done.unclipped for done in finished])


def stack_params(parts: Sequence[Params]) -> Params:
    """Stacks parameters of clients, `[*shape]` each, to `[clients, *shape]` by name."""
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
