"""Cuts a cohort into shards that are summed and chunks that are stacked, and draws each chunk's rows.

Shards determine the result. Updates are added up in order within a shard, and the sums in shard order. Chunks affect
speed only. A chunk is a group of clients whose parameters are stacked. Any chunk size gives the same draws, and the
same sums up to rounding.
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

# Memory of a chunk's parameters and activations together. Small networks gained up to 16 MB, and large activations
# lost beyond it.
CHUNK_BYTES = 2**24
# Parameters of clients mapped together (128 MB in float32). Temporary tensors take several times as much.
_MAPPED_NUMBERS = 2**25
# More clients than this make a step no faster, and the whole chunk must finish before its first client is summed.
_MOST_CLIENTS = 64
# Below this much arithmetic in a step of half the cohort, two threads mostly wait for the interpreter. One thread with
# all clients stacked was as fast or faster up to 30 MFLOP. At 100 MFLOP two were 1.2 to 1.5 times as fast.
_SHARED_FLOPS = 5e7
# Arithmetic that takes a thread some milliseconds of compiled training. Submitting it takes a tenth of a millisecond.
_SUBMIT_FLOPS = 2e8


@dataclass(frozen=True)
class Cost:
    """What one sample costs in a stacked network.

    Attributes:
        activations: numbers in its activations. Where gradients are clipped by sample, also those in its own gradient
            of the layers that have no cheaper norm.
        products: multiplications of its forward pass.
    """

    activations: int
    products: int


@dataclass(frozen=True)
class Chunk:
    """Clients stacked together, sorted by descending steps, with the rows that each draws.

    Attributes:
        clients: numbers of the clients.
        num_rows: number of training rows of each.
        rows: table rows of each step, `[steps, clients, width]`, left-aligned and padded with -1.
        counts: rows of each client in each step, `[steps, clients]`.
        steps: steps of each client, descending.
    """

    clients: tuple[ClientId, ...]
    num_rows: tuple[int, ...]
    rows: Rows
    counts: Rows
    steps: Rows

    @property
    def live(self) -> list[int]:
        """How many clients take part in each step. They are the first ones."""
        # `steps` descends, so its negative is sorted. Client i takes part in step t where steps[i] > t.
        return np.searchsorted(-self.steps, -np.arange(len(self.rows)), side="left").tolist()  # type: ignore[no-any-return]

    @property
    def padding(self) -> int:
        """Rows of padding that are computed, the cost of stacking clients of unequal sizes."""
        widths = np.array([max(1, int(counts.max(initial=0))) for counts in self.counts])
        return int((widths * np.array(self.live)).sum() - self.counts.sum())

    def only(self, i: int) -> "Chunk":
        """The chunk of one of its clients."""
        client, steps = slice(i, i + 1), int(self.steps[i])
        return Chunk(
            self.clients[client],
            self.num_rows[client],
            self.rows[:steps, client],
            self.counts[:steps, client],
            self.steps[client],
        )


def shards(cohort: Sequence[ClientId], size: int) -> list[Sequence[ClientId]]:
    """Cuts a cohort into nearly equal parts of at most `size` clients. Depends only on its arguments.

    >>> shards([1, 2, 3, 4, 5], 3)
    [[1, 2], [3, 4, 5]]
    """
    parts = -(-len(cohort) // size)
    ends = [len(cohort) * i // max(1, parts) for i in range(parts + 1)]
    return [cohort[a:b] for a, b in pairwise(ends)]


def even_shards(cohort: Sequence[ClientId], due: Mapping[ClientId, int], size: int) -> list[Sequence[ClientId]]:
    """Cuts a cohort into shards of clients with similar work.

    Shards come in pairs with similar total work, so that two threads finish at about the same time.

    Args:
        cohort: the clients, in any order.
        due: steps that each client will take.
        size: most clients in a shard.

    >>> even_shards([1, 2, 3, 4], {1: 9, 2: 1, 3: 8, 4: 2}, 2)
    [[1, 2], [3, 4]]
    """
    by_steps = sorted(cohort, key=lambda client: -due[client])
    by_work = shards(by_steps, size)
    out: list[Sequence[ClientId]] = []
    for i in range(0, len(by_work) - 1, 2):
        pair = [*by_work[i], *by_work[i + 1]]
        # Assigned in the order 1, 2, 2, 1, since always giving the first of two to one shard would make it larger.
        out += [[*pair[0::4], *pair[3::4]], [*pair[1::4], *pair[2::4]]]
    return out + list(by_work[len(out) :])


def chunk_size(work: ClientWork, network: StackedNetwork, cost: Cost, clients: int) -> int:
    """How many clients to stack, limited by memory and cache, with two chunks for two threads where that pays.

    The size depends only on the study. Which clients are stacked together decides a step's last bits, and these must
    not depend on a machine's number of threads.

    Args:
        work: what each client does.
        network: the stacked form of its network.
        cost: cost of a sample.
        clients: number of clients in the cohort.
    """
    batch = min(work.batch_size or 2**10, 2**10)
    itemsize = torch.empty((), dtype=work.dtype).itemsize
    fits = round(CHUNK_BYTES / (itemsize * (network.numbers + batch * cost.activations)))
    half = -(-clients // 2)
    return max(1, min(fits, _MOST_CLIENTS, half if worth_sharing(work, cost, half) else clients))


def compiled_chunk_size(work: ClientWork, cost: Cost, sizes: Rows, cohort: Sequence[ClientId]) -> int:
    """How many clients a thread gets at a time in compiled training, so that the work outweighs its submission.

    Args:
        work: what each client does.
        cost: cost of a sample.
        sizes: number of training rows of every client.
        cohort: the clients of the cohort.
    """
    rows = sum(work.steps(int(sizes[client])) * min(int(sizes[client]), work.batch_size or 2**62) for client in cohort)
    return max(1, min(_MOST_CLIENTS, int(len(cohort) * _SUBMIT_FLOPS / max(1, 6 * cost.products * rows))))


def mapped_chunk_size(work: ClientWork, most: int) -> int:
    """How many clients to map together where there are no kernels, limited by memory and by `most`.

    Clipping by sample forms each sample's gradient. `local.step` already fills the memory with those of one client, so
    the number is 1.
    """
    if work.local_plan is not None and work.local_plan.mechanism.clips_samples:
        return 1
    numbers = sum(value.numel() for value in work.task.model.parameters())
    return max(1, min(most, _MAPPED_NUMBERS // numbers))


def worth_sharing(work: ClientWork, cost: Cost, clients: float = 0.5) -> bool:
    """Whether a step of `clients` clients is enough work for a thread of its own. The default is half a client."""
    # Three products (forward, gradient by input, gradient by weights) of two operations a multiplication.
    return 6 * cost.products * min(work.batch_size or 2**10, 2**10) * clients >= _SHARED_FLOPS


def draw(
    work: ClientWork, data: FederatedData, streams: Streams, clients: Sequence[ClientId], round_number: int
) -> Chunk:
    """Draws the rows of every step of a chunk's clients, each from the client's own stream."""
    sampled, sizes = {}, {}
    for client in clients:
        client_rows = data.train.rows(client)
        rows = local.schedule(work, len(client_rows), streams("rows", round_number, client))
        sampled[client], sizes[client] = np.where(rows >= 0, client_rows[rows], -1), len(client_rows)
    order = sorted(clients, key=lambda client: -len(sampled[client]))
    steps = np.array([len(sampled[client]) for client in order])
    width = max(1, *(rows.shape[1] for rows in sampled.values()))
    rows = np.full((int(steps[0]), len(order), width), -1, dtype=np.int64)
    for i, client in enumerate(order):
        rows[: steps[i], i, : sampled[client].shape[1]] = sampled[client]
    return Chunk(tuple(order), tuple(sizes[c] for c in order), rows, (rows >= 0).sum(2), steps)


class BatchLoader:
    """Loads a chunk's batches, step by step, from the training table.

    Rows are always gathered into the same memory. A batch is overwritten when the next is loaded.

    Args:
        data: the data whose training table is read.
        chunk: the chunk whose rows are loaded.
        dtype: dtype of features.
        device: device of the batches.
    """

    def __init__(self, data: FederatedData, chunk: Chunk, dtype: torch.dtype, device: torch.device) -> None:
        table = data.data.train
        self._x, self._dtype, self._device = table.x, dtype, device
        self._buffer = table.x.new_empty(chunk.rows[:1].size, *table.x.shape[1:])
        self._rows = torch.from_numpy(chunk.rows)
        # Padding has target 0. Some client's target, if huge, would make the padding's gradient infinite.
        targets = table.y[self._rows.clamp(min=0)].masked_fill_(self._rows < 0, 0)
        self._y = targets.unsqueeze(3).to(device)
        # Cut into steps once, since for a small network slicing at every step costs as much as a product.
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
        # The common case of full batches, with neither slices nor weights.
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
            # Padding is zeros, not some client's row. Huge values there must not reach another client, even times 0.
            x.index_fill_(0, (flat < 0).nonzero().squeeze(1), 0)
            weight = (rows >= 0).to(self._device, self._dtype)
        x = x.view(live, width, *self._x.shape[1:])
        return StackedBatch(self._converted(x), self._y[step, :live, :width], weight)

    def _converted(self, x: Tensor) -> Tensor:
        return Table.features(x, self._device, self._dtype)

    def batch(self, step: int) -> Batch:
        """The batch of one step in the form of a mapped step, always with weights."""
        x, y, weight = self.stacked(step)
        full = torch.ones(y.shape[:2], dtype=self._dtype, device=self._device)
        return Batch(x, y.squeeze(2), full if weight is None else weight)


def cost_of(network: StackedNetwork, stack: Stack, x: Tensor, *, by_sample: bool) -> Cost:
    """The cost of a sample, found by a forward and backward pass of one row `x` `[1, 1, ...]` without an update."""
    logits, activations = network.forward(stack, x)
    parts: list[LayerGradient] = []
    network.backward(stack, torch.zeros_like(logits), activations, parts.append)
    numbers = sum(leaf.numel() for leaf in torch.utils._pytree.tree_leaves(activations) if isinstance(leaf, Tensor))
    products = [part for part in parts if isinstance(part, Product)]
    if by_sample:
        numbers += sum(part.a.shape[2] * part.g.shape[2] for part in products if part.positions > 1)
    return Cost(numbers, sum(part.a.numel() * part.g.shape[2] for part in products))
