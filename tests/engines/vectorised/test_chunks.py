"""How a cohort is cut: every client once, balanced, a function of the study alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from accord.data.federated import FederatedData
from accord.engines.stacked.network import stack_network
from accord.engines.vectorised import chunks
from accord.engines.vectorised.chunks import (
    CHUNK_BYTES,
    BatchLoader,
    Chunk,
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


def test_a_whole_batch_counts_as_1024_rows(task: Callable[..., Task]) -> None:
    work = make_work(task(), None, batch_size=None)
    network = stack_network(work.task.model, 1)
    assert network is not None
    heavy = CHUNK_BYTES // (8 * 1024 * 3)
    assert chunk_size(work, network, Cost(heavy, 0), 20) == 3
    assert not worth_sharing(work, Cost(0, 8137), clients=1)  # 6 * 8,138 * 1,024 is 50 million
    assert worth_sharing(work, Cost(0, 8139), clients=1)


def test_mapped_clients_fit_the_memory(task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = 5 * 6 + 6 + 6 * 3 + 3
    plain = make_work(task(), None)
    assert mapped_chunk_size(plain, 16) == 16
    for room, expected in ((4 * numbers, 4), (4 * numbers - 1, 3), (numbers - 1, 1)):
        monkeypatch.setattr(chunks, "_MAPPED_NUMBERS", room)
        assert mapped_chunk_size(plain, 16) == expected
        assert mapped_chunk_size(make_work(task(), "sample"), 16) == 1
        assert mapped_chunk_size(make_work(task(), "batch"), 16) == expected


def test_compiled_clients_are_handed_over_by_their_arithmetic(task: Callable[..., Task]) -> None:
    """200 MFLOP a thread, of six operations a multiplication; at most 64 clients."""
    sizes, cohort = np.array([12, 30, 7, 30]), [0, 1, 2, 3]
    work = make_work(task(), None)  # two passes in batches of 8
    rows = 2 * (2 * 8 + 4 * 8 + 1 * 7 + 4 * 8)
    for products in (100_000, 1_000_000):
        expected = int(4 * 2e8 / (6 * products * rows))
        assert compiled_chunk_size(work, Cost(0, products), sizes, cohort) == max(1, expected)
    assert compiled_chunk_size(work, Cost(0, 1), sizes, cohort) == 64
    whole = make_work(task(), None, batch_size=None, local_epochs=1)
    assert compiled_chunk_size(whole, Cost(0, 100_000), sizes, cohort) == int(4 * 2e8 / (6 * 100_000 * 79))


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


def test_clipping_by_sample_also_holds_the_gradients_that_have_no_cheaper_norm() -> None:
    """A convolution of two kernels of four numbers each, at four places; of the dense layer only factors are held."""
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 3))
    network = stack_network(model, 3, by_sample=True)
    assert network is not None
    stack = network.enter({name: value.detach().unsqueeze(0) for name, value in model.named_parameters()})
    plain, private = (cost_of(network, stack, torch.zeros(1, 1, 1, 3, 3), by_sample=flag) for flag in (False, True))
    assert private.activations - plain.activations == 2 * 4
    assert private.products == plain.products == 4 * (2 * 4) + 8 * 3
