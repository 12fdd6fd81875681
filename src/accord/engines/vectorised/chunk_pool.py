"""Runs the chunks of a cohort on threads, and gives their updates in order."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch

from accord.core.errors import AccordError, ClientError
from accord.core.params import Params
from accord.core.streams import Streams
from accord.core.timing import Timed
from accord.data.federated import FederatedData
from accord.engines.vectorised.chunk_work import ChunkResult, RoundContext
from accord.engines.vectorised.chunks import draw, worth_sharing
from accord.engines.vectorised.kernel_chunks import Kernels, compiled_chunk, stacked_chunk
from accord.engines.vectorised.mapped_chunks import mapped_chunk
from accord.program.base import ClientId
from accord.program.local import ClientWork


@dataclass(frozen=True)
class ChunkPool:
    """Runs a round's chunks.

    Attributes:
        data: every client's rows.
        streams: the run's named streams.
        device: where the arithmetic happens.
        threads: chunks run at the same time.
        timed: a stopwatch.
        carried: state that clients keep from round to round, changed.
    """

    data: FederatedData
    streams: Streams
    device: torch.device
    threads: int
    timed: Timed
    carried: dict[ClientId, Params]

    def run(
        self,
        work: ClientWork,
        kernels: Kernels | None,
        chunks: Sequence[Sequence[ClientId]],
        shared: Params,
        round_number: int,
    ) -> Iterator[ChunkResult]:
        """Each chunk's updates, in order. Not many more than `threads` of them are in memory at once."""
        if kernels is not None and kernels.compiled is not None:
            yield from self._run_compiled(work, kernels, chunks, shared, round_number)
            return
        small = kernels is not None and not worth_sharing(work, kernels.cost, max(map(len, chunks), default=0))
        # Chunks without kernels stay in this thread. `functional_call` swaps the tensors of the one model while it
        # runs, so threads cannot share it.
        if kernels is None or self.threads == 1 or small:
            for clients in chunks:
                yield self._run_chunk(work, kernels, clients, shared, round_number)
            return
        waiting: list[Future[ChunkResult]] = []
        with ThreadPoolExecutor(self.threads) as pool:
            if len(chunks) == 1:
                step = replace(kernels.step, each=pool.map)
                yield self._run_chunk(work, replace(kernels, step=step), chunks[0], shared, round_number)
                return
            for clients in chunks:
                waiting.append(pool.submit(self._run_chunk, work, kernels, clients, shared, round_number))
                if len(waiting) > self.threads:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()

    def _run_compiled(
        self,
        work: ClientWork,
        kernels: Kernels,
        chunks: Sequence[Sequence[ClientId]],
        shared: Params,
        round_number: int,
    ) -> Iterator[ChunkResult]:
        """As `run`, for compiled training. Clients may differ in work, so more chunks are submitted ahead."""
        from accord.engines.compiled.client import single_threaded_blas  # brings Numba's compiler

        waiting: list[Future[ChunkResult]] = []
        with single_threaded_blas():
            if self.threads == 1 or (len(chunks) == 1 and kernels.step.pieces == 1):
                for clients in chunks:
                    yield self._run_chunk(work, kernels, clients, shared, round_number)
                return
            with ThreadPoolExecutor(self.threads) as pool:
                if len(chunks) == 1:
                    yield self._run_chunk(work, kernels, chunks[0], shared, round_number, pool)
                    return
                for clients in chunks:
                    waiting.append(pool.submit(self._run_chunk, work, kernels, clients, shared, round_number))
                    if len(waiting) > 4 * self.threads:
                        yield waiting.pop(0).result()
                while waiting:
                    yield waiting.pop(0).result()

    def _run_chunk(
        self,
        work: ClientWork,
        kernels: Kernels | None,
        clients: Sequence[ClientId],
        shared: Params,
        round_number: int,
        pool: ThreadPoolExecutor | None = None,
    ) -> ChunkResult:
        """Draws a chunk's rows and runs its round, by kernels where there are some and else mapped."""
        try:
            with self.timed("data"):
                chunk = draw(work, self.data, self.streams, clients, round_number)
            each = RoundContext(
                work, shared, round_number, self.data, self.streams, self.device, self.carried, self.timed
            )
            if kernels is not None:
                with torch.inference_mode(), self.timed("local training"):
                    if kernels.compiled is not None:
                        return compiled_chunk(each, kernels, kernels.compiled, chunk, pool)
                    return stacked_chunk(each, kernels, chunk)
            return mapped_chunk(each, chunk)
        except AccordError:
            raise
        except Exception as error:
            message = str(error).partition("\n")[0] or type(error).__name__
            raise ClientError(message, client=clients[0], round_number=round_number, stage="step") from error
