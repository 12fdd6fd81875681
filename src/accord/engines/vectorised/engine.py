"""The engine for one machine, which stacks clients and trains them together.

It has the same streams and the same result as `sequential`, against which it is tested. Each chunk's clients draw their
rows and noise from their own streams. They are sorted by number of steps, and step together. In step t only clients
that have a step t take part, as a slice of the stack, so a finished client costs nothing. Rows are padded to the widest
batch of the step, and padding has weight 0. Threads run the chunks, with one arithmetic thread each. Updates are added
in a fixed order, so the bits do not depend on the threads.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from accord.core import params as p
from accord.core.checks import positive
from accord.core.errors import AccordError, ClientError
from accord.core.params import Params
from accord.core.streams import Streams
from accord.core.timing import Timed, untimed
from accord.data.federated import FederatedData, Table
from accord.engines.client_losses import client_losses
from accord.engines.compiled.network import CompiledNetwork, compile_network
from accord.engines.stacked.network import StackedNetwork, stack_network
from accord.engines.stacked.step import KernelStep
from accord.engines.vectorised.chunk_work import (
    ChunkResult,
    Kernels,
    RoundContext,
    compiled_chunk,
    mapped_chunk,
    stacked_chunk,
    sums_packed,
)
from accord.engines.vectorised.chunks import (
    Cost,
    chunk_size,
    compiled_chunk_size,
    cost_of,
    draw,
    even_shards,
    mapped_chunk_size,
    shards,
    worth_sharing,
)
from accord.engines.vectorised.speed import DEFAULT_SPEED, Speed
from accord.program.base import ClientId, ClientResult, CohortSum
from accord.program.local import ClientWork
from accord.tasks.classification import cross_entropy

# Most per-sample activations in memory at once in a private step (64 MB in float32).
_MICRO_NUMBERS = 2**24
# Arithmetic that takes stacked kernels about ten seconds. Compiling takes about as long, once on a machine.
_PAYS = 1e12
_FORMS = 4


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
        self._speed = speed
        self._forms: dict[tuple[int, bool], tuple[ClientWork, Kernels | None]] = {}
        self.carried: dict[ClientId, Params] = {}

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int
    ) -> Iterator[ClientResult]:
        """Each client's result, in the cohort's order, computed whole chunks at a time.

        Raises:
            ClientError: a chunk's work failed. The error has its first client, the round and the stage.
        """
        work = work.at(round_number)
        kernels = self._kernels(work, shared, len(cohort))
        chunks = shards(cohort, self._size(work, kernels, cohort))
        for clients, done in zip(chunks, self._work(work, kernels, chunks, shared, round_number), strict=True):
            samples, index = done.chunk.counts.sum(0).tolist(), {c: i for i, c in enumerate(done.chunk.clients)}
            for client in clients:
                i = index[client]
                update = {name: _times(value[i], done.factors[i]) for name, value in done.updates.items()}
                left = _leave(kernels, update) if done.packed else update
                yield ClientResult(client, left, samples[i], int(done.chunk.steps[i]), done.unclipped[i])

    def sum_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int, weights: Sequence[float]
    ) -> CohortSum:
        """`sum(weight * update)` over the cohort, with a partial sum for each shard of clients with similar work."""
        work = work.at(round_number)
        weight = dict(zip(cohort, weights, strict=True))
        due = {client: work.steps(self._data.train.size(client)) for client in cohort}
        kernels = self._kernels(work, shared, len(cohort))
        client_shards = even_shards(cohort, due, self._shard_size)
        # Chunks are cut without regard to shards. A partial sum is closed after the last client of its shard, so that
        # the order of addition depends only on the shards.
        last = {shard[-1] for shard in client_shards}
        chunks = shards([client for shard in client_shards for client in shard], self._size(work, kernels, cohort))
        packed = kernels is not None and sums_packed(work)
        if kernels is not None and packed:
            like = {name: value[0] for name, value in kernels.start.items()}
        else:
            like = {name: shared[name] for name in work.sent}
        total, partial = p.zeros_like(like), p.zeros_like(like)
        samples, steps, padding, unclipped = dict.fromkeys(cohort, 0), dict.fromkeys(cohort, 0), 0, 0
        for clients, done in zip(chunks, self._work(work, kernels, chunks, shared, round_number), strict=True):
            index = {client: i for i, client in enumerate(done.chunk.clients)}
            with self._timed("aggregation"):
                for client in clients:
                    _add(partial, done, index[client], weight[client])
                    if client in last:
                        total, partial = p.add(total, partial), p.zeros_like(like)
            samples.update(zip(done.chunk.clients, done.chunk.counts.sum(0).tolist(), strict=True))
            steps.update(zip(done.chunk.clients, done.chunk.steps.tolist(), strict=True))
            padding += 0 if kernels is not None and kernels.compiled is not None else done.chunk.padding
            unclipped += sum(done.unclipped)
        return CohortSum(_leave(kernels, total) if packed else total, samples, steps, padding, unclipped)

    def client_losses(self, work: ClientWork, cohort: Sequence[ClientId], shared: Params) -> list[float]:
        """Mean loss of the round's parameters over each client's rows, in nats, in the cohort's order."""
        with self._timed("evaluation"):
            return client_losses(work, self._data, cohort, shared)

    def ready(self, work: ClientWork, shared: Params, clients: int) -> None:
        """Compiles what a cohort of `clients` clients will need, so that no round waits for it."""
        kernels = self._kernels(work, shared, clients)
        if kernels is not None and kernels.compiled is not None:
            from accord.engines.compiled import training  # noqa: F401

    def _kernels(self, work: ClientWork, shared: Params, clients: int) -> Kernels | None:
        """The stacked step, with the compiled form of the network where there is one. None without a stacked form."""
        # The work is stored with its form. That keeps it alive, so that no other object can get the same id.
        key = (id(work), clients == 1)
        if key not in self._forms:
            if len(self._forms) == _FORMS:  # adaptive clipping makes a new work object in every round
                self._forms.clear()
            self._forms[key] = (work, self._form(work, shared, clients))
        _, form = self._forms[key]
        if form is None:
            return None
        network = form.compiled or form.step.network
        start = network.enter({name: shared[name].unsqueeze(0) for name in work.task.trainable})
        return replace(form, start=start)

    def _form(self, work: ClientWork, shared: Params, clients: int) -> Kernels | None:
        """The part of the kernels that is the same in every round."""
        # Kernels compute the gradients of the built-in losses only. They also reorder axes, to which an optimiser must
        # be indifferent. A rule's correction, called on a stack, would mix the clients unless it is elementwise.
        if work.task.loss is not None or not work.elementwise:
            return None
        x, plan = self._data.data.train.x, work.local_plan
        by_sample = plan is not None and plan.mechanism.clips_samples
        network = stack_network(work.task.model, x.dim() - 1, by_sample=by_sample)
        if network is None or work.unused:  # kernels move every parameter
            return None
        start = network.enter({name: shared[name].unsqueeze(0) for name in work.task.trainable})
        row = Table.features(x[:1].unsqueeze(0).clone(), self._device, work.dtype)
        cost = cost_of(network, start, row, by_sample=by_sample)
        compiled = self._compiled_form(work, network, cost)
        # With a single client, threads can only share its batch. It pays where arithmetic outweighs forming the
        # gradients twice.
        worth = clients == 1 and worth_sharing(work, cost)
        pieces = 2 if worth and (compiled or cost.products >= 4 * network.numbers) else 1
        step = KernelStep(work, network, max(1, _MICRO_NUMBERS // cost.activations), pieces, timed=self._timed)
        return Kernels(step, start, cost, compiled)

    def _compiled_form(self, work: ClientWork, network: StackedNetwork, cost: Cost) -> CompiledNetwork | None:
        """The network in compiled form.

        None where the work or the network has no such form, or where the run is too short to pay for compiling.
        """
        table, plan = self._data.data.train, work.local_plan
        fits = (
            work.optimizer.plain_rate is not None and not work.rule.corrects and sums_packed(work),
            plan is None or (plan.mechanism.clips_samples and not plan.per_layer),
            work.task.kind.loss is cross_entropy,  # compiled in
            table.x.dtype in (torch.uint8, torch.float32) and work.dtype == torch.float32,
            table.x.is_contiguous() and table.y.is_contiguous() and self._device.type == "cpu",
        )
        compiles = (
            6 * cost.products * self._speed.samples >= _PAYS if self._speed.compile is None else self._speed.compile
        )
        if not (compiles and all(fits)):
            return None
        return compile_network(network, tuple(table.x.shape[1:]), work.task.classes, by_sample=plan is not None)

    def _size(self, work: ClientWork, kernels: Kernels | None, cohort: Sequence[ClientId]) -> int:
        """How many clients to stack together."""
        if self._speed.chunk_size is not None:
            return self._speed.chunk_size
        if kernels is None:
            return mapped_chunk_size(work, self._shard_size)
        if kernels.compiled is not None:
            return compiled_chunk_size(work, kernels.cost, self._data.train.sizes(), cohort)
        return chunk_size(work, kernels.step.network, kernels.cost, len(cohort))

    def _work(
        self,
        work: ClientWork,
        kernels: Kernels | None,
        chunks: Sequence[Sequence[ClientId]],
        shared: Params,
        round_number: int,
    ) -> Iterator[ChunkResult]:
        """Each chunk's updates, in order. Not many more than `threads` of them are in memory at once."""
        if kernels is not None and kernels.compiled is not None:
            yield from self._compiled_work(work, kernels, chunks, shared, round_number)
            return
        small = kernels is not None and not worth_sharing(work, kernels.cost, max(map(len, chunks), default=0))
        # Chunks without kernels stay in this thread. `functional_call` swaps the tensors of the one model while it
        # runs, so threads cannot share it.
        if kernels is None or self._threads == 1 or small:
            for clients in chunks:
                yield self._run_chunk(work, kernels, clients, shared, round_number)
            return
        waiting: list[Future[ChunkResult]] = []
        with ThreadPoolExecutor(self._threads) as pool:
            if len(chunks) == 1:
                step = replace(kernels.step, each=pool.map)
                yield self._run_chunk(work, replace(kernels, step=step), chunks[0], shared, round_number)
                return
            for clients in chunks:
                waiting.append(pool.submit(self._run_chunk, work, kernels, clients, shared, round_number))
                if len(waiting) > self._threads:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()

    def _compiled_work(
        self,
        work: ClientWork,
        kernels: Kernels,
        chunks: Sequence[Sequence[ClientId]],
        shared: Params,
        round_number: int,
    ) -> Iterator[ChunkResult]:
        """As `_work`, for compiled training. Clients may differ in work, so more chunks are submitted ahead."""
        from accord.engines.compiled.client import single_threaded_blas  # brings Numba's compiler

        waiting: list[Future[ChunkResult]] = []
        with single_threaded_blas():
            if self._threads == 1 or (len(chunks) == 1 and kernels.step.pieces == 1):
                for clients in chunks:
                    yield self._run_chunk(work, kernels, clients, shared, round_number)
                return
            with ThreadPoolExecutor(self._threads) as pool:
                if len(chunks) == 1:
                    yield self._run_chunk(work, kernels, chunks[0], shared, round_number, pool)
                    return
                for clients in chunks:
                    waiting.append(pool.submit(self._run_chunk, work, kernels, clients, shared, round_number))
                    if len(waiting) > 4 * self._threads:
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
            with self._timed("data"):
                chunk = draw(work, self._data, self._streams, clients, round_number)
            each = RoundContext(
                work, shared, round_number, self._data, self._streams, self._device, self.carried, self._timed
            )
            if kernels is not None:
                with torch.inference_mode(), self._timed("local training"):
                    if kernels.compiled is not None:
                        return compiled_chunk(each, kernels, kernels.compiled, chunk, pool)
                    return stacked_chunk(each, kernels, chunk)
            return mapped_chunk(each, chunk)
        except AccordError:
            raise
        except Exception as error:
            message = str(error).partition("\n")[0] or type(error).__name__
            raise ClientError(message, client=clients[0], round_number=round_number, stage="step") from error


def _add(partial: Params, done: ChunkResult, i: int, weight: float) -> None:
    """Adds the weighted update of the chunk's client `i` to `partial`, in place."""
    # Factor 0 marks an update that may be NaN. It is skipped, since 0 * NaN is NaN.
    if done.factors[i] != 0:
        for name, value in partial.items():
            value.add_(done.updates[name][i], alpha=weight * done.factors[i])


def _times(value: Tensor, factor: float) -> Tensor:
    """`factor * value` as a new tensor. It is 0 for factor 0, even where the value is NaN."""
    return torch.zeros_like(value) if factor == 0 else value * factor


def _leave(kernels: Kernels | None, total: Params) -> Params:
    """Parameters by name, converted from the kernels' layout where there are kernels."""
    if kernels is None:
        return total
    left = kernels.leave({name: value.unsqueeze(0) for name, value in total.items()})
    return {name: value[0].contiguous() for name, value in left.items()}
