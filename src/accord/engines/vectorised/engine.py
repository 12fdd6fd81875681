"""The engine for one machine, which stacks clients and trains them together.

It has the same streams and the same result as `sequential`, against which it is tested. Each chunk's clients draw their
rows and noise from their own streams. They are sorted by number of steps, and step together. In step t only clients
that have a step t take part, as a slice of the stack, so a finished client costs nothing. Rows are padded to the widest
batch of the step, and padding has weight 0. Threads run the chunks, with one arithmetic thread each. Updates are added
in a fixed order, so the bits do not depend on the threads.
"""

import os
from collections.abc import Iterator, Sequence

import torch

from accord.core import params as p
from accord.core.checks import positive
from accord.core.streams import Streams
from accord.core.timing import Timed, untimed
from accord.data.federated import FederatedData
from accord.engines.client_losses import client_losses
from accord.engines.vectorised.chunk_pool import ChunkPool
from accord.engines.vectorised.chunks import (
    even_shards,
    shards,
)
from accord.engines.vectorised.kernel_chunks import Kernels, sums_packed
from accord.engines.vectorised.kernel_forms import KernelForms
from accord.engines.vectorised.speed import DEFAULT_SPEED, Speed
from accord.program.base import ClientId, ClientResult, CohortSum
from accord.program.local import ClientWork


class Vectorised:
    """Runs client work with clients stacked.

    Args:
        data: every client's rows.
        streams: the run's named streams.
        shard_size: clients summed together.
        device: where the arithmetic happens.
        timed: a stopwatch.
        speed: threads, chunk size and compilation.
    """

    def __init__(
        self,
        data: FederatedData,
        streams: Streams,
        shard_size: int = 16,
        device: torch.device | None = None,
        timed: Timed = untimed,
        speed: Speed = DEFAULT_SPEED,
    ) -> None:
        positive(shard_size=shard_size)
        self._data = data
        self._streams = streams
        self._shard_size = shard_size
        self._device = device or torch.device("cpu")
        self._threads = speed.threads or os.cpu_count() or 1
        self._timed = timed
        self._forms = KernelForms(data, shard_size, self._device, speed, timed)
        self.carried: dict[ClientId, p.Params] = {}

    def _pool(self) -> ChunkPool:
        # Made anew for each cohort, since a resumed run puts another dictionary in place of `carried`.
        return ChunkPool(self._data, self._streams, self._device, self._threads, self._timed, self.carried)

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: p.Params, round_number: int
    ) -> Iterator[ClientResult]:
        """Each client's result, in the cohort's order, computed whole chunks at a time.

        Raises:
            ClientError: a chunk's work failed. The error has its first client, the round and the stage.
        """
        work = work.at(round_number)
        kernels = self._forms.kernels(work, shared, len(cohort))
        chunks = shards(cohort, self._forms.chunk_size(work, kernels, cohort))
        for clients, done in zip(chunks, self._pool().run(work, kernels, chunks, shared, round_number), strict=True):
            samples, index = done.chunk.counts.sum(0).tolist(), {c: i for i, c in enumerate(done.chunk.clients)}
            for client in clients:
                i = index[client]
                update = done.update(i)
                left = _leave(kernels, update) if done.packed else update
                yield ClientResult(client, left, samples[i], int(done.chunk.steps[i]), done.unclipped[i])

    def sum_cohort(
        self,
        work: ClientWork,
        cohort: Sequence[ClientId],
        shared: p.Params,
        round_number: int,
        weights: Sequence[float],
    ) -> CohortSum:
        """`sum(weight * update)` over the cohort, with a partial sum for each shard of clients with similar work."""
        work = work.at(round_number)
        weight = dict(zip(cohort, weights, strict=True))
        due = {client: work.steps(self._data.train.size(client)) for client in cohort}
        kernels = self._forms.kernels(work, shared, len(cohort))
        client_shards = even_shards(cohort, due, self._shard_size)
        # Chunks are cut without regard to shards. A partial sum is closed after the last client of its shard, so that
        # the order of addition depends only on the shards.
        last = {shard[-1] for shard in client_shards}
        chunks = shards(
            [client for shard in client_shards for client in shard], self._forms.chunk_size(work, kernels, cohort)
        )
        packed = kernels is not None and sums_packed(work)
        if kernels is not None and packed:
            like = {name: value[0] for name, value in kernels.start.items()}
        else:
            like = {name: shared[name] for name in work.sent}
        total, partial = p.zeros_like(like), p.zeros_like(like)
        samples, steps, padding, unclipped = dict.fromkeys(cohort, 0), dict.fromkeys(cohort, 0), 0, 0
        for clients, done in zip(chunks, self._pool().run(work, kernels, chunks, shared, round_number), strict=True):
            index = {client: i for i, client in enumerate(done.chunk.clients)}
            with self._timed("aggregation"):
                for client in clients:
                    done.add_to(partial, index[client], weight[client])
                    if client in last:
                        total, partial = p.add(total, partial), p.zeros_like(like)
            samples.update(zip(done.chunk.clients, done.chunk.counts.sum(0).tolist(), strict=True))
            steps.update(zip(done.chunk.clients, done.chunk.steps.tolist(), strict=True))
            padding += 0 if kernels is not None and kernels.compiled is not None else done.chunk.padding
            unclipped += sum(done.unclipped)
        return CohortSum(_leave(kernels, total) if packed else total, samples, steps, padding, unclipped)

    def client_losses(self, work: ClientWork, cohort: Sequence[ClientId], shared: p.Params) -> list[float]:
        """Mean loss of the round's parameters over each client's rows, in nats, in the cohort's order."""
        with self._timed("evaluation"):
            return client_losses(work, self._data, cohort, shared)

    def ready(self, work: ClientWork, shared: p.Params, clients: int) -> None:
        """Compiles what a cohort of `clients` clients will need, so that no round waits for it."""
        kernels = self._forms.kernels(work, shared, clients)
        if kernels is not None and kernels.compiled is not None:
            from accord.engines.compiled import training  # noqa: F401


def _leave(kernels: Kernels | None, total: p.Params) -> p.Params:
    """Parameters by name, converted from the kernels' layout where there are kernels."""
    if kernels is None:
        return total
    left = kernels.leave({name: value.unsqueeze(0) for name, value in total.items()})
    return {name: value[0].contiguous() for name, value in left.items()}
