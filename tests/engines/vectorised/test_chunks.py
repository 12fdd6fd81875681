"""How a cohort is cut: every client once, balanced, a function of the study alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.federated import FederatedData
from accord.engines.stacked.network import stack_network
from accord.engines.vectorised.chunks import (
    CHUNK_BYTES,
    BatchLoader,
    Chunk,
    Cost,
    chunk_size,
    cost_of,
    draw,
    even_shards,
    shards,
)
from accord.tasks.task import Task
from engines.contract import SIZES, STREAMS, make_work


@settings(derandomize=True, deadline=None)
@given(due=st.lists(st.integers(1, 50), max_size=60), size=st.integers(1, 9))
def test_even_shards_hold_everyone_once_and_pairs_are_balanced(due: list[int], size: int) -> None:
    work = dict(enumerate(due))
    cut = even_shards(list(work), work, size)
    assert sorted(client for shard in cut for client in shard) == list(work)
    assert all(1 <= len(shard) <= size for shard in cut)
    totals = [sum(work[client] for client in shard) for shard in cut]
    largest = max(due, default=0)
    for i in range(0, len(totals) - 1, 2):
        assert abs(totals[i] - totals[i + 1]) <= 2 * largest


def test_shards_are_contiguous_and_even() -> None:
    assert shards(list(range(20)), 16) == [list(range(10)), list(range(10, 20))]
    assert shards([], 4) == []


def test_live_and_padding_are_counted() -> None:
    rows = np.array([[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, -1], [-1, -1]], [[10, -1], [-1, -1], [-1, -1]]])
    chunk = Chunk((4, 5, 6), (5, 3, 2), rows, (rows >= 0).sum(2), np.array([3, 2, 1]))
    assert chunk.live == [3, 2, 1]
    assert chunk.padding == 1
    alone = chunk.only(1)
    assert (alone.live, alone.padding, alone.rows.tolist()) == ([1, 1], 0, [[[3, 4]], [[9, -1]]])


def test_batches_are_each_clients_own_rows_and_padding_is_zero(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data = federation(SIZES)
    work = make_work(task(), None)
    chunk = draw(work, data, STREAMS, [4, 0, 2], 1)
    assert chunk.clients == (4, 0, 2)
    feed, seen = BatchLoader(data, chunk, work.dtype, torch.device("cpu")), dict.fromkeys(chunk.clients, 0)
    table = data.data.train
    for step, live in enumerate(chunk.live):
        batch = feed.stacked(step)
        for i in range(live):
            rows = chunk.rows[step, i][chunk.rows[step, i] >= 0]
            seen[chunk.clients[i]] += len(rows)
            assert torch.equal(batch.x[i, : len(rows)], table.x[rows].to(work.dtype))
            assert not batch.x[i, len(rows) :].any()
            weight = torch.ones(batch.y.shape[1]) if batch.weight is None else batch.weight[i]
            assert weight.sum() == len(rows)
    assert seen == {client: 2 * SIZES[client] for client in chunk.clients}


def test_a_large_network_is_stacked_a_few_clients_at_a_time(task: Callable[..., Task]) -> None:
    work = make_work(task(), None)
    network = stack_network(work.task.model, 1)
    assert network is not None
    heavy = CHUNK_BYTES // (8 * 8 * 3)
    assert chunk_size(work, network, Cost(heavy, 0), 20) == 3
    assert chunk_size(work, network, Cost(100 * heavy, 0), 20) == 1


def test_only_work_worth_a_second_thread_is_shared(task: Callable[..., Task]) -> None:
    work = make_work(task(), None)  # batches of 8
    network = stack_network(work.task.model, 1)
    assert network is not None
    assert chunk_size(work, network, Cost(10, 1000), 20) == 20
    assert chunk_size(work, network, Cost(10, 1_000_000), 20) == 10
    assert chunk_size(work, network, Cost(10, 1_000_000), 21) == 11


def test_what_a_sample_holds_is_found_by_trial(task: Callable[..., Task]) -> None:
    work: Any = make_work(task(), None)
    network = stack_network(work.task.model, 1)
    assert network is not None
    stack = network.enter({name: value.unsqueeze(0) for name, value in work.task.init(work.dtype).items()})
    x = torch.zeros(1, 1, 5, dtype=work.dtype)
    assert cost_of(network, stack, x, by_sample=False) == Cost(activations=5 + 6 + 6, products=5 * 6 + 6 * 3)
