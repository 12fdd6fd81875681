"""The engine for one machine: clients are stacked and stepped together.

The same streams and the same result as `sequential`, which it is tested against. Each chunk's clients draw their
rows and noise from their own streams, are sorted by how many steps they take, and step together: in step t only
those that have a step t take part, as a slice of the stack, so no finished client costs anything. Rows are padded to
the widest batch of the step; padding has weight 0. Chunks are worked by threads, one arithmetic thread each, and
updates are added in a fixed order, so the bits do not depend on the threads.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from accord import params as p
from accord.checks import positive
from accord.data.federated import FederatedData, Table
from accord.engines.chunks import Chunk, Cost, Feed, chunk_size, cost_of, draw, even_shards, shards, worth_sharing
from accord.engines.stacked import stack_network
from accord.engines.stacked_parts import Stack
from accord.engines.stacked_step import Draw, KernelStep, mapped_step, square_norms
from accord.errors import AccordError, ClientError
from accord.params import Params
from accord.privacy import noise
from accord.privacy.clipping import factor_of
from accord.program import local
from accord.program.base import ClientId, ClientResult, CohortSum
from accord.program.local import ClientState, ClientWork
from accord.streams import NOISE, Streams
from accord.timing import Timed, untimed

# Numbers of per-sample activations held at once by a private step: bounds memory (64 MB in float32).
_MICRO_NUMBERS = 2**24


@dataclass(frozen=True)
class _Kernels:
    """What a round's chunks share.

    Attributes:
        step: the stacked step.
        start: the round's parameters, a stack of one.
        cost: of one sample.
    """

    step: KernelStep
    start: Stack
    cost: Cost


@dataclass(frozen=True)
class _Done:
    """A chunk's stacked updates.

    Attributes:
        chunk: whose.
        updates: name to `[clients, ...]`, under kernels in their layout.
        factors: what each client's update is still to be multiplied by.
    """

    chunk: Chunk
    updates: Stack
    factors: list[float]


class Vectorised:
    """Runs client work stacked.

    Args:
        data: every client's rows.
        streams: the run's named streams.
        shard_size: clients summed together.
        device: where the arithmetic happens.
        threads: chunks worked at once; changes nothing but time. None takes the machine's cores.
        chunk_size: clients stacked together; changes time and last bits. None takes what fits the cache.
        timed: a stopwatch.
    """

    def __init__(
        self,
        data: FederatedData,
        streams: Streams,
        shard_size: int = 16,
        device: torch.device | None = None,
        threads: int | None = None,
        chunk_size: int | None = None,
        timed: Timed = untimed,
    ) -> None:
        positive(shard_size=shard_size, threads=1 if threads is None else threads)
        positive(chunk_size=1 if chunk_size is None else chunk_size)
        self._data = data
        self._streams = streams
        self._shard_size = shard_size
        self._device = device or torch.device("cpu")
        self._threads = threads or os.cpu_count() or 1
        self._chunk_size = chunk_size
        self._timed = timed

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round: int
    ) -> Iterator[ClientResult]:
        """Each client's result, in the cohort's order; whole chunks at a time.

        Raises:
            ClientError: a chunk's work failed; carries its first client, the round and the stage.
        """
        kernels = self._kernels(work, shared, len(cohort))
        chunks = shards(cohort, self._size(work, kernels, cohort))
        for clients, done in zip(chunks, self._work(work, kernels, chunks, shared, round), strict=True):
            samples, place = done.chunk.counts.sum(0).tolist(), {c: i for i, c in enumerate(done.chunk.clients)}
            for client in clients:
                i = place[client]
                update = {name: _times(value[i], done.factors[i]) for name, value in done.updates.items()}
                yield ClientResult(client, _leave(kernels, update), samples[i], int(done.chunk.steps[i]))

    def sum_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round: int, weights: Sequence[float]
    ) -> CohortSum:
        """`sum(weight * update)` over the cohort, one partial sum a shard; clients with like work share one."""
        weight = dict(zip(cohort, weights, strict=True))
        due = {client: work.steps(self._data.train.size(client)) for client in cohort}
        kernels = self._kernels(work, shared, len(cohort))
        cut = even_shards(cohort, due, self._shard_size)
        last = {shard[-1] for shard in cut}
        chunks = shards([client for shard in cut for client in shard], self._size(work, kernels, cohort))
        if kernels is None:
            like = {name: shared[name] for name in work.sent}
        else:
            like = {name: value[0] for name, value in kernels.start.items()}
        total, partial = p.zeros_like(like), p.zeros_like(like)
        samples, steps, padding = dict.fromkeys(cohort, 0), dict.fromkeys(cohort, 0), 0
        for clients, done in zip(chunks, self._work(work, kernels, chunks, shared, round), strict=True):
            place = {client: i for i, client in enumerate(done.chunk.clients)}
            with self._timed("aggregation"):
                for client in clients:
                    _add(partial, done, place[client], weight[client])
                    if client in last:
                        total, partial = p.add(total, partial), p.zeros_like(like)
            samples.update(zip(done.chunk.clients, done.chunk.counts.sum(0).tolist(), strict=True))
            steps.update(zip(done.chunk.clients, done.chunk.steps.tolist(), strict=True))
            padding += done.chunk.padding
        return CohortSum(_leave(kernels, total), samples, steps, padding)

    def _kernels(self, work: ClientWork, shared: Params, clients: int) -> _Kernels | None:
        """The stacked step, None where the network has no stacked form."""
        x = self._data.data.train.x
        plan = work.local_plan
        by_sample = plan is not None and plan.unit == "sample"
        network = stack_network(work.task.model, x.dim() - 1, by_sample=by_sample)
        if network is None:
            return None
        start = network.enter({name: shared[name].unsqueeze(0) for name in work.task.trainable})
        row = Table.features(x[:1].unsqueeze(0).clone(), self._device, work.dtype)
        cost = cost_of(network, start, row, by_sample=by_sample)
        # A lone client's batch is what threads can share, where arithmetic outweighs forming the gradients twice.
        pieces = 2 if clients == 1 and worth_sharing(work, cost) and cost.products >= 4 * network.numbers else 1
        step = KernelStep(work, network, max(1, _MICRO_NUMBERS // cost.held), pieces, timed=self._timed)
        return _Kernels(step, start, cost)

    def _size(self, work: ClientWork, kernels: _Kernels | None, cohort: Sequence[ClientId]) -> int:
        """Clients stacked together."""
        if self._chunk_size is not None or kernels is None:
            return self._chunk_size or self._shard_size
        return chunk_size(work, kernels.step.network, kernels.cost, len(cohort))

    def _work(
        self,
        work: ClientWork,
        kernels: _Kernels | None,
        chunks: Sequence[Sequence[ClientId]],
        shared: Params,
        round: int,
    ) -> Iterator[_Done]:
        """Each chunk's updates, in order; few more than `threads` of them are held at once."""
        # functional_call swaps the skeleton's tensors while it runs, so vmapped chunks cannot share it over threads.
        small = kernels is not None and not worth_sharing(work, kernels.cost, max(map(len, chunks), default=0))
        if kernels is None or self._threads == 1 or small:
            for clients in chunks:
                yield self._run_chunk(work, kernels, clients, shared, round)
            return
        waiting: list[Future[_Done]] = []
        with ThreadPoolExecutor(self._threads) as pool:
            if len(chunks) == 1:
                step = replace(kernels.step, each=pool.map)
                yield self._run_chunk(work, replace(kernels, step=step), chunks[0], shared, round)
                return
            for clients in chunks:
                waiting.append(pool.submit(self._run_chunk, work, kernels, clients, shared, round))
                if len(waiting) > self._threads:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()

    def _run_chunk(
        self, work: ClientWork, kernels: _Kernels | None, clients: Sequence[ClientId], shared: Params, round: int
    ) -> _Done:
        try:
            with self._timed("data"):
                chunk = draw(work, self._data, self._streams, clients, round)
            if kernels is not None:
                with torch.inference_mode(), self._timed("local training"):
                    return self._stacked(kernels, chunk, round)
            if work.task.keeps_statistics():
                # Batch statistics would see the padding: each client steps alone, unpadded.
                alone = [self._mapped(work, chunk.only(i), shared, round) for i in range(len(clients))]
                state = torch.utils._pytree.tree_map(lambda *leaves: torch.cat(leaves), *alone)
            else:
                state = self._mapped(work, chunk, shared, round)
            updates = torch.func.vmap(lambda state: local.finish(work, state, shared))(state)
            return _Done(chunk, updates, [1.0] * len(clients))
        except AccordError:
            raise
        except Exception as error:
            message = str(error).partition("\n")[0] or type(error).__name__
            raise ClientError(message, client=clients[0], round=round, stage="step") from error

    def _stacked(self, kernels: _Kernels, chunk: Chunk, round: int) -> _Done:
        step = kernels.step
        work, plan, clients = step.work, step.work.plan, len(chunk.clients)
        stack = {name: _copies(value, clients) for name, value in kernels.start.items()}
        feed = Feed(self._data, chunk, work.dtype, self._device)
        divisors = [local.divisor(work, n) for n in chunk.held]
        draw_noise = None if work.local_plan is None else self._noise(chunk, round)
        optimizer = work.optimizer.init(stack)
        optimizer = optimizer._replace(steps=optimizer.steps.expand(clients).clone())
        update = torch.func.vmap(work.optimizer.update)
        now, there = stack, clients
        for t, live in enumerate(chunk.live):
            if live < there:
                now, there = {name: value[:live] for name, value in stack.items()}, live
            with self._timed("data"):
                batch = feed.stacked(t)
            if step.fusible:
                step.fused(now, batch, divisors[:live], draw_noise)
                continue
            gradients = step.gradients(now, batch, divisors[:live], draw_noise)
            state = torch.utils._pytree.tree_map(lambda leaf, live=live: leaf[:live], optimizer)
            after, state = update(gradients, state, now)
            for name, value in after.items():
                now[name].copy_(value)
            for old, new in zip(optimizer[:2], state[:2], strict=True):
                for name, value in new.items():
                    old[name][:live] = value
            optimizer.steps[:live] = state.steps
        for name, value in stack.items():
            value.sub_(kernels.start[name])
        factors = [1.0] * clients
        if plan is not None and plan.unit == "client":
            # The clipped update is not formed: the factor goes into the cohort's sum.
            with self._timed("clipping"):
                factors = factor_of(square_norms(stack), plan.clip_norm).tolist()
        return _Done(chunk, stack, factors)

    def _noise(self, chunk: Chunk, round: int) -> Draw:
        """Each client's noise of its next step, from its own stream."""
        streams = [self._streams(NOISE, round, client) for client in chunk.clients]
        return lambda i, into, scale: noise.add(streams[i], into, scale)

    def _mapped(self, work: ClientWork, chunk: Chunk, shared: Params, round: int) -> ClientState:
        clients = len(chunk.clients)
        state = _grow(local.start(work, shared), clients)
        values = [local.divisor(work, n) for n in chunk.held]
        divisors = torch.tensor(values, dtype=work.dtype, device=self._device)
        feed = Feed(self._data, chunk, work.dtype, self._device)
        streams = [self._streams(NOISE, round, client) for client in chunk.clients]
        for t, live in enumerate(chunk.live):
            with self._timed("noise"):
                drawn = [local.step_noise(work, shared, stream) for stream in streams[:live]]
                stacked = _stack([one for one in drawn if one is not None]) if drawn[0] is not None else None
            now = torch.utils._pytree.tree_map(lambda leaf, live=live: leaf[:live], state)
            with self._timed("data"):
                batch = feed.batch(t)
            with self._timed("local training"):
                after = mapped_step(work, now, batch, divisors[:live], stacked)
            state = (
                after
                if live == clients
                else torch.utils._pytree.tree_map(
                    lambda new, old, live=live: torch.cat([new, old[live:]]), after, state
                )
            )
        return state


def _add(partial: Params, done: _Done, i: int, weight: float) -> None:
    """Adds the weighted update of a chunk's client at place `i`, in place."""
    # A factor of 0 drops what may be NaN; 0 times NaN would not.
    if done.factors[i] != 0:
        for name, value in partial.items():
            value.add_(done.updates[name][i], alpha=weight * done.factors[i])


def _times(value: Tensor, factor: float) -> Tensor:
    """A new tensor; zeros at factor 0, whatever the value."""
    return torch.zeros_like(value) if factor == 0 else value * factor


def _leave(kernels: _Kernels | None, total: Params) -> Params:
    """Parameters by name, from the kernels' matrix where there is one."""
    if kernels is None:
        return total
    left = kernels.step.network.leave({name: value.unsqueeze(0) for name, value in total.items()})
    return {name: value[0].contiguous() for name, value in left.items()}


def _copies(value: Tensor, clients: int) -> Tensor:
    """`[1, a, b]` as `[clients, a, b]`, written out, the axes of `value` in the order they have in memory."""
    if value.is_contiguous():
        return value.expand(clients, -1, -1).clone(memory_format=torch.contiguous_format)
    return _copies(value.transpose(1, 2), clients).transpose(1, 2)


def _stack(parts: Sequence[Params]) -> Params:
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


def _grow(state: ClientState, clients: int) -> ClientState:
    def grow(leaf: Tensor) -> Tensor:
        return leaf.expand(clients, *leaf.shape).clone()

    return torch.utils._pytree.tree_map(grow, state)  # type: ignore[no-any-return]
