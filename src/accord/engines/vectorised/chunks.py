"""How a cohort is cut for stacking: shards that are summed, chunks that are stacked, and each chunk's rows.

A shard is a unit of meaning: updates are added up within it in order, and the sums in shard order. A chunk is a
unit of speed: clients of one shard whose parameters are stacked; any chunk size gives the same draws, and the same
sums but for rounding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from accord.core.streams import Streams
from accord.data.federated import FederatedData, Rows, Table
from accord.engines.stacked.layer_gradients import LayerGradient, Product, Stack
from accord.engines.stacked.network import StackedNetwork
from accord.engines.stacked.step import StackedBatch
from accord.program import local
from accord.program.base import ClientId
from accord.program.local import Batch, ClientWork

# What a chunk's parameters and activations may take together: small networks gained up to 16 MB, large activations
# lost beyond it.
CHUNK_BYTES = 2**24
# Parameters of clients mapped together; several times as much is held beside them (128 MB in float32).
_MAPPED_NUMBERS = 2**25
# More clients than this make a step no faster; all are waited for before the first is summed.
_MOST_CLIENTS = 64
# Below so much arithmetic in a step of half the cohort, two threads wait for the interpreter more than they work:
# one thread with all clients stacked was as fast or faster up to 30 MFLOP, two at 100 were 1.2 to 1.5 times as fast.
_SHARED_FLOPS = 5e7
# Arithmetic that takes a thread some milliseconds where training is compiled; handing it over takes a tenth of one.
_HANDED_FLOPS = 2e8


@dataclass(frozen=True)
class Cost:
    """What one sample costs in a stacked network.

    Attributes:
        held: numbers its activations take, and where gradients are clipped by sample, its own gradient of the layers
            that have no cheaper norm.
        products: multiplications of its forward pass.
    """

    held: int
    products: int


@dataclass(frozen=True)
class Chunk:
    """Clients stacked together, most steps first, and what each draws.

    Attributes:
        clients: by number.
        held: training rows of each.
        rows: table rows of each step, `[steps, clients, width]`, -1 pads, left-aligned.
        counts: rows of each client in each step, `[steps, clients]`.
        steps: steps of each client, descending.
    """

    clients: tuple[ClientId, ...]
    held: tuple[int, ...]
    rows: Rows
    counts: Rows
    steps: Rows

    @property
    def live(self) -> list[int]:
        """How many clients, the first ones, take part in each step."""
        return np.searchsorted(-self.steps, -np.arange(len(self.rows)), side="left").tolist()  # type: ignore[no-any-return]

    @property
    def padding(self) -> int:
        """Rows of padding that are stepped with: what stacking ragged clients wastes."""
        widths = np.array([max(1, int(counts.max(initial=0))) for counts in self.counts])
        return int((widths * np.array(self.live)).sum() - self.counts.sum())

    def only(self, i: int) -> "Chunk":
        """The chunk of one of its clients."""
        one, steps = slice(i, i + 1), int(self.steps[i])
        return Chunk(
            self.clients[one], self.held[one], self.rows[:steps, one], self.counts[:steps, one], self.steps[one]
        )


def shards(cohort: Sequence[ClientId], size: int) -> list[Sequence[ClientId]]:
    """At most `size` clients each, as even as can be: a function of the cohort alone.

    >>> shards([1, 2, 3, 4, 5], 3)
    [[1, 2], [3, 4, 5]]
    """
    parts = -(-len(cohort) // size)
    ends = [len(cohort) * i // max(1, parts) for i in range(parts + 1)]
    return [cohort[a:b] for a, b in pairwise(ends)]


def even_shards(cohort: Sequence[ClientId], due: Mapping[ClientId, int], size: int) -> list[Sequence[ClientId]]:
    """Shards of clients with like work, two and two alike, so that two threads finish together.

    Args:
        cohort: in any order.
        due: steps each client will take.
        size: most clients in a shard.

    >>> even_shards([1, 2, 3, 4], {1: 9, 2: 1, 3: 8, 4: 2}, 2)
    [[1, 2], [3, 4]]
    """
    alike = sorted(cohort, key=lambda client: -due[client])
    cut = shards(alike, size)
    out: list[Sequence[ClientId]] = []
    for i in range(0, len(cut) - 1, 2):
        both = [*cut[i], *cut[i + 1]]
        # Dealt to and fro: the first of each pair is the larger.
        out += [[*both[0::4], *both[3::4]], [*both[1::4], *both[2::4]]]
    return out + list(cut[len(out) :])


def chunk_size(work: ClientWork, network: StackedNetwork, cost: Cost, clients: int) -> int:
    """How many clients to stack: what memory and cache bear, and two chunks to work side by side where that pays.

    A function of the study alone: who is stacked with whom decides a step's last bits, and they must not depend on
    how many threads a machine has.

    Args:
        work: what each does.
        network: its stacked form.
        cost: of a sample.
        clients: in the cohort.
    """
    batch = min(work.batch_size or 2**10, 2**10)
    itemsize = torch.empty((), dtype=work.dtype).itemsize
    fits = round(CHUNK_BYTES / (itemsize * (network.numbers + batch * cost.held)))
    half = -(-clients // 2)
    return max(1, min(fits, _MOST_CLIENTS, half if worth_sharing(work, cost, half) else clients))


def compiled_chunk_size(work: ClientWork, cost: Cost, sizes: Rows, cohort: Sequence[ClientId]) -> int:
    """Clients that a thread is handed at a time where training is compiled: enough work to be worth the handing.

    Args:
        work: what each does.
        cost: of a sample.
        sizes: training rows of every client.
        cohort: its members.
    """
    rows = sum(work.steps(int(sizes[client])) * min(int(sizes[client]), work.batch_size or 2**62) for client in cohort)
    return max(1, min(_MOST_CLIENTS, int(len(cohort) * _HANDED_FLOPS / max(1, 6 * cost.products * rows))))


def mapped_chunk_size(work: ClientWork, most: int) -> int:
    """Clients mapped together where there are no kernels: as many as memory is held for, and no more than `most`.

    Clipping by sample forms each sample's gradient, and `local.step` holds as many of these as fit for one client.
    """
    if work.local_plan is not None and work.local_plan.mechanism.clips_samples:
        return 1
    numbers = sum(value.numel() for value in work.task.model.parameters())
    return max(1, min(most, _MAPPED_NUMBERS // numbers))


def worth_sharing(work: ClientWork, cost: Cost, clients: float = 0.5) -> bool:
    """Whether a step of so many clients is work enough for a thread of its own; by default, of half a client."""
    # Forward, gradient by input, gradient by weights: three products, two operations a multiplication.
    return 6 * cost.products * min(work.batch_size or 2**10, 2**10) * clients >= _SHARED_FLOPS


def draw(
    work: ClientWork, data: FederatedData, streams: Streams, clients: Sequence[ClientId], round_number: int
) -> Chunk:
    """The rows of every step of a chunk's clients, each from the client's own stream."""
    drawn, sizes = {}, {}
    for client in clients:
        held = data.train.rows(client)
        rows = local.schedule(work, len(held), streams("rows", round_number, client))
        drawn[client], sizes[client] = np.where(rows >= 0, held[rows], -1), len(held)
    order = sorted(clients, key=lambda client: -len(drawn[client]))
    steps = np.array([len(drawn[client]) for client in order])
    width = max(1, *(rows.shape[1] for rows in drawn.values()))
    rows = np.full((int(steps[0]), len(order), width), -1, dtype=np.int64)
    for i, client in enumerate(order):
        rows[: steps[i], i, : drawn[client].shape[1]] = drawn[client]
    return Chunk(tuple(order), tuple(sizes[c] for c in order), rows, (rows >= 0).sum(2), steps)


class BatchLoader:
    """A chunk's batches, step by step: rows gathered from the table as they are needed, always into the same memory,
    so that a batch is gone when the next is asked for.

    Args:
        data: whose training table is read.
        chunk: whose rows.
        dtype: of features.
        device: where to.
    """

    def __init__(self, data: FederatedData, chunk: Chunk, dtype: torch.dtype, device: torch.device) -> None:
        table = data.data.train
        self._x, self._dtype, self._device = table.x, dtype, device
        self._buffer = table.x.new_empty(chunk.rows[:1].size, *table.x.shape[1:])
        self._rows = torch.from_numpy(chunk.rows)
        # Padding has a target of its own, 0: some client's, if huge, would make the padding's gradient infinite.
        targets = table.y[self._rows.clamp(min=0)].masked_fill_(self._rows < 0, 0)
        self._y = targets.unsqueeze(3).to(device)
        # Cut by step at once: for a small network, slicing step by step costs as much as a product.
        self._by_step = list(zip(self._rows.flatten(1).unbind(0), self._y.unbind(0), strict=True))
        self._shape = (-1, chunk.rows.shape[2], *table.x.shape[1:])
        self._live = chunk.live
        widths = [int(counts[:live].max(initial=0)) for counts, live in zip(chunk.counts, self._live, strict=True)]
        self._widths = [max(1, width) for width in widths]
        self._padded = [
            bool((counts[:live] < width).any())
            for counts, live, width in zip(chunk.counts, self._live, self._widths, strict=True)
        ]

    def stacked(self, step: int) -> StackedBatch:
        """The batch of one step of the clients that are live in it."""
        live, width = self._live[step], self._widths[step]
        if (live, width) == self._rows.shape[1:] and not self._padded[step]:
            flat, y = self._by_step[step]
            torch.index_select(self._x, 0, flat, out=self._buffer)
            return StackedBatch(self._converted(self._buffer).view(self._shape), y, None)
        rows = self._rows[step, :live, :width]
        flat = rows.reshape(-1)
        padded = self._padded[step]
        x = self._buffer[: len(flat)]
        torch.index_select(self._x, 0, flat.clamp(min=0) if padded else flat, out=x)
        weight = None
        if padded:
            # Zeros, not some client's row: what is huge there must not reach another client, even times 0.
            x.index_fill_(0, (flat < 0).nonzero().squeeze(1), 0)
            weight = (rows >= 0).to(self._device, self._dtype)
        x = x.view(live, width, *self._x.shape[1:])
        return StackedBatch(self._converted(x), self._y[step, :live, :width], weight)

    def _converted(self, x: Tensor) -> Tensor:
        return Table.features(x, self._device, self._dtype)

    def batch(self, step: int) -> Batch:
        """The same for a mapped step."""
        x, y, weight = self.stacked(step)
        full = torch.ones(y.shape[:2], dtype=self._dtype, device=self._device)
        return Batch(x, y.squeeze(2), full if weight is None else weight)


def cost_of(network: StackedNetwork, stack: Stack, x: Tensor, *, by_sample: bool) -> Cost:
    """The cost of a sample, found by a step of one row `x` `[1, 1, ...]` that changes nothing."""
    logits, kept = network.forward(stack, x)
    parts: list[LayerGradient] = []
    network.backward(stack, torch.zeros_like(logits), kept, parts.append)
    held = sum(leaf.numel() for leaf in torch.utils._pytree.tree_leaves(kept) if isinstance(leaf, Tensor))
    products = [part for part in parts if isinstance(part, Product)]
    if by_sample:
        held += sum(part.a.shape[2] * part.g.shape[2] for part in products if part.places > 1)
    return Cost(held, sum(part.a.numel() * part.g.shape[2] for part in products))
