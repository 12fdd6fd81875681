"""The engine for one machine: a shard of clients is stacked and stepped together.

The same streams and the same result as `sequential`, which it is tested against. A cohort is cut into shards; each
shard's clients draw their rows and noise from their own streams, are sorted by how many steps they take, and step
together: in step t only those that have a step t take part, as a slice of the stack, so no finished client costs
anything. Rows are padded to the widest batch of the step; padding has weight 0. Shards are worked by threads, one
arithmetic thread each, and their sums are added in shard order, so the bits do not depend on the threads.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from accord import params as p
from accord.checks import positive
from accord.data.federated import FederatedData, Rows
from accord.engines.stacked import Stack, StackedNetwork, stack_network
from accord.engines.stacked_step import KernelStep, mapped_step
from accord.errors import AccordError, ClientError
from accord.params import Params
from accord.program import local
from accord.program.base import ClientId, ClientResult, CohortSum
from accord.program.local import Batch, ClientState, ClientWork
from accord.streams import NOISE, Streams


@dataclass(frozen=True)
class _Shard:
    """A shard's clients, most steps first, and what each draws.

    Attributes:
        clients: by number.
        held: how many training rows each has.
        rows: table rows of each step, `[clients, steps, width]`, -1 pads, left-aligned.
        counts: rows of each client in each step, `[clients, steps]`.
        steps: steps of each client, descending.
    """

    clients: tuple[ClientId, ...]
    held: Rows
    rows: Rows
    counts: Rows
    steps: Rows

    def only(self, i: int) -> "_Shard":
        """The shard of one of its clients."""
        one = slice(i, i + 1)
        return _Shard(self.clients[one], self.held[one], self.rows[one], self.counts[one], self.steps[one])


class Vectorised:
    """Runs client work stacked.

    Args:
        data: every client's rows.
        streams: the run's named streams.
        shard_size: clients stacked and summed together.
        device: where the arithmetic happens.
        threads: shards worked at once; changes nothing but time. None takes the machine's cores.
    """

    def __init__(
        self,
        data: FederatedData,
        streams: Streams,
        shard_size: int = 16,
        device: torch.device | None = None,
        threads: int | None = None,
    ) -> None:
        positive(shard_size=shard_size, threads=1 if threads is None else threads)
        self._data = data
        self._streams = streams
        self._shard_size = shard_size
        self._device = device or torch.device("cpu")
        self._threads = threads or os.cpu_count() or 1

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round: int
    ) -> Iterator[ClientResult]:
        """Each client's result, in the cohort's order; whole shards at a time.

        Raises:
            ClientError: a shard's work failed; carries its first client, the round and the stage.
        """
        shards = self._cut(cohort)
        for shard, updates in self._work(work, shards, shared, round):
            place = {client: i for i, client in enumerate(shard.clients)}
            for client in shards.pop(0):
                i = place[client]
                update = {name: value[i] for name, value in updates.items()}
                yield ClientResult(client, update, int(shard.counts[i].sum()), int(shard.steps[i]))

    def sum_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round: int, weights: Sequence[float]
    ) -> CohortSum:
        """`sum(weight * update)` over the cohort, one partial sum a shard; clients with like work share one."""
        weight = dict(zip(cohort, weights, strict=True))
        due = {client: work.steps(len(self._data.train.rows(client))) for client in cohort}
        alike = sorted(cohort, key=lambda client: -due[client])
        total = p.zeros_like({name: shared[name] for name in work.sent})
        samples: dict[ClientId, int] = {}
        steps: dict[ClientId, int] = {}
        for shard, updates in self._work(work, self._cut(alike), shared, round):
            factors = torch.tensor([weight[client] for client in shard.clients], dtype=work.dtype, device=self._device)
            total = p.add(total, {name: torch.tensordot(factors, value, dims=1) for name, value in updates.items()})
            samples.update(zip(shard.clients, shard.counts.sum(1).tolist(), strict=True))
            steps.update(zip(shard.clients, shard.steps.tolist(), strict=True))
        return CohortSum(total, {c: samples[c] for c in cohort}, {c: steps[c] for c in cohort})

    def _cut(self, cohort: Sequence[ClientId]) -> list[Sequence[ClientId]]:
        """Shards of at most `shard_size`, as even as can be: a function of the cohort alone, not of the threads."""
        parts = -(-len(cohort) // self._shard_size)
        ends = [len(cohort) * i // max(1, parts) for i in range(parts + 1)]
        return [cohort[a:b] for a, b in pairwise(ends)]

    def _work(
        self, work: ClientWork, shards: Sequence[Sequence[ClientId]], shared: Params, round: int
    ) -> Iterator[tuple[_Shard, Stack]]:
        """Each shard's stacked updates, in shard order; at most `threads` shards are held at once."""
        network = stack_network(work.task.model, self._data.data.train.x.dim() - 1)
        # functional_call swaps the skeleton's tensors while it runs, so vmapped shards cannot share it over threads.
        if network is None or self._threads == 1 or len(shards) < 2:
            for clients in list(shards):
                yield self._run_shard(work, network, clients, shared, round)
            return
        waiting: list[Future[tuple[_Shard, Stack]]] = []
        with ThreadPoolExecutor(self._threads) as pool:
            for clients in list(shards):
                waiting.append(pool.submit(self._run_shard, work, network, clients, shared, round))
                if len(waiting) > self._threads:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()

    def _run_shard(
        self,
        work: ClientWork,
        network: StackedNetwork | None,
        clients: Sequence[ClientId],
        shared: Params,
        round: int,
    ) -> tuple[_Shard, Stack]:
        try:
            shard = self._draw(work, clients, round)
            if network is not None:
                state = self._kernels(KernelStep(work, network), shard, shared, round)
            elif work.task.keeps_statistics():
                # Batch statistics would see the padding: each client steps alone, unpadded.
                alone = [self._mapped(work, shard.only(i), shared, round) for i in range(len(clients))]
                state = torch.utils._pytree.tree_map(lambda *leaves: torch.cat(leaves), *alone)
            else:
                state = self._mapped(work, shard, shared, round)
            update = torch.func.vmap(lambda state: local.finish(work, state, shared))(state)
        except AccordError:
            raise
        except Exception as error:
            message = str(error).partition("\n")[0] or type(error).__name__
            raise ClientError(message, client=clients[0], round=round, stage="step") from error
        return shard, update

    def _draw(self, work: ClientWork, clients: Sequence[ClientId], round: int) -> _Shard:
        drawn = {}
        for client in clients:
            held = self._data.train.rows(client)
            rows = local.schedule(work, len(held), self._streams("rows", round, client))
            drawn[client] = np.where(rows >= 0, held[rows], -1)
        order = sorted(clients, key=lambda client: -len(drawn[client]))
        steps = np.array([len(drawn[client]) for client in order])
        width = max(1, *(rows.shape[1] for rows in drawn.values()))
        rows = np.full((len(order), int(steps[0]), width), -1, dtype=np.int64)
        for i, client in enumerate(order):
            rows[i, : steps[i], : drawn[client].shape[1]] = drawn[client]
        held_sizes = np.array([len(self._data.train.rows(client)) for client in order])
        return _Shard(tuple(order), held_sizes, rows, (rows >= 0).sum(2), steps)

    def _batch(self, work: ClientWork, shard: _Shard, step: int, live: int) -> Batch:
        width = max(1, int(shard.counts[:live, step].max()))
        rows = torch.from_numpy(shard.rows[:live, step, :width])
        weight = (rows >= 0).to(work.dtype)
        flat = rows.clamp(min=0).flatten()
        table = self._data.data.train
        x = table.x.index_select(0, flat).view(live, width, *table.x.shape[1:])
        if bool((rows < 0).any()):
            # Zeros, not some client's row: what is huge there must not reach another client, even times 0.
            x[rows < 0] = 0.0
        y = table.y.index_select(0, flat).view(live, width)
        return Batch(x.to(self._device, work.dtype), y.to(self._device), weight.to(self._device))

    def _noise(self, work: ClientWork, shard: _Shard, round: int) -> Iterator[Params | None]:
        """The shard's noise step by step, `[live clients, ...]`, each client's from its own stream."""
        like = {name: value for name, value in work.task.model.named_parameters() if name in work.task.trainable}
        shapes = {name: like[name].to(work.dtype) for name in work.task.trainable}
        streams = [self._streams(NOISE, round, client) for client in shard.clients]
        for step in range(int(shard.steps[0])):
            live = int((shard.steps > step).sum())
            drawn = [local.step_noise(work, shapes, stream) for stream in streams[:live]]
            yield _stack([one for one in drawn if one is not None]) if drawn[0] is not None else None

    def _kernels(self, step: KernelStep, shard: _Shard, shared: Params, round: int) -> ClientState:
        work, network = step.work, step.network
        clients = len(shard.clients)
        stack = {
            name: network.enter(name, shared[name].expand(clients, *shared[name].shape)).contiguous().clone()
            for name in work.task.trainable
        }
        plan = work.local_plan
        divisors = None
        if plan is not None and plan.unit == "sample":
            values = [plan.divisor(int(n)) for n in shard.held]
            divisors = torch.tensor(values, dtype=work.dtype, device=self._device)
        fused = work.optimizer.plain_rate is not None and (plan is None or plan.unit == "sample")
        optimizer = work.optimizer.init(stack)
        optimizer = optimizer._replace(steps=optimizer.steps.expand(clients).clone())
        update = torch.func.vmap(work.optimizer.update)
        for t, noise in enumerate(self._noise(work, shard, round)):
            live = int((shard.steps > t).sum())
            view = {name: value[:live] for name, value in stack.items()}
            batch = self._batch(work, shard, t, live)
            own = None if noise is None else {name: network.enter(name, value) for name, value in noise.items()}
            part = None if divisors is None else divisors[:live]
            if fused:
                step.fused(view, batch, part, own)
                continue
            gradients = step.gradients(view, batch, part, own)
            gradients = {name: gradients[name] for name in view}
            state = torch.utils._pytree.tree_map(lambda leaf, live=live: leaf[:live], optimizer)
            after, state = update(gradients, state, view)
            for name, value in after.items():
                stack[name][:live] = value
            for leaf, new in zip(optimizer[:2], state[:2], strict=True):
                for name, value in new.items():
                    leaf[name][:live] = value
            optimizer.steps[:live] = state.steps
        trained = {name: network.leave(name, value) for name, value in stack.items()}
        return ClientState(trained, {}, optimizer)

    def _mapped(self, work: ClientWork, shard: _Shard, shared: Params, round: int) -> ClientState:
        clients = len(shard.clients)
        state = _grow(local.start(work, shared), clients)
        values = [local.divisor(work, int(n)) for n in shard.held]
        divisors = torch.tensor(values, dtype=work.dtype, device=self._device)
        for t, noise in enumerate(self._noise(work, shard, round)):
            live = int((shard.steps > t).sum())
            now = torch.utils._pytree.tree_map(lambda leaf, live=live: leaf[:live], state)
            after = mapped_step(work, now, self._batch(work, shard, t, live), divisors[:live], noise)
            state = (
                after
                if live == clients
                else torch.utils._pytree.tree_map(
                    lambda new, old, live=live: torch.cat([new, old[live:]]), after, state
                )
            )
        return state


def _stack(parts: Sequence[Params]) -> Params:
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


def _grow(state: ClientState, clients: int) -> ClientState:
    def grow(leaf: Tensor) -> Tensor:
        return leaf.expand(clients, *leaf.shape).clone()

    return torch.utils._pytree.tree_map(grow, state)  # type: ignore[no-any-return]
