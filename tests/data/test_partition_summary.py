"""A partition, listed and summed up: each tally against a plain count over the clients."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.data import SyntheticData
from accord.config.partition import DirichletPartition, IidPartition
from accord.data import partition_summary as module
from accord.data.federated import FederatedData
from accord.data.load import deal, load_data
from accord.data.partition_summary import label_shares, partition_summary

Federation = Callable[..., FederatedData]


@pytest.fixture
def skewed() -> FederatedData:
    """300 clients of unlike size and labels; some have no test rows."""
    data = load_data(SyntheticData(name="synthetic", train_rows=4000, test_rows=200, classes=4), 0)
    section = DirichletPartition(name="dirichlet", num_partitions=300, alpha=0.5, min_partition_size=1)
    return deal(data, section, 0)


def naive(federated: FederatedData) -> list[dict[str, Any]]:
    train, test, table = federated.train, federated.test, federated.data.train
    return [
        {
            "client": client,
            "name": "",
            "rows": len(train.rows(client)),
            "test_rows": len(test.rows(client)),
            "labels": [int((table.y[train.rows(client)] == k).sum()) for k in range(len(federated.data.class_names))],
        }
        for client in range(len(train))
    ]


def test_every_client_is_listed_up_to_the_limit(skewed: FederatedData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LISTED", 300)
    assert partition_summary(skewed) == {"class_names": ["0", "1", "2", "3"], "clients": naive(skewed)}


def test_names_are_those_of_the_clients(federation: Federation) -> None:
    made = federation([10, 30])
    shares = type(made.train)(made.train.order, made.train.offsets, ("north", "south"))
    told = partition_summary(FederatedData(made.data, shares, made.test))
    assert [client["name"] for client in told["clients"]] == ["north", "south"]


def test_tallies_are_plain_counts_over_all_clients(skewed: FederatedData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LISTED", 299)
    monkeypatch.setattr(module, "FIRST_LISTED", 7)
    told, clients = partition_summary(skewed), naive(skewed)
    assert "clients" not in told  # whoever reads a list of all clients must not find a part of it
    assert told["population"] == 300
    assert told["first_clients"] == clients[:7]
    assert told["labels"] == np.sum([client["labels"] for client in clients], axis=0).tolist()
    for of in ("rows", "test_rows"):
        assert told[of] == {str(n): count for n, count in Counter(client[of] for client in clients).items()}
        assert list(map(int, told[of])) == sorted(map(int, told[of]))
    assert json.loads(json.dumps(told)) == told


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 5), st.integers(1, 9), st.integers(1, 60), st.integers(0, 99))
def test_label_shares_are_those_of_the_whole_table(
    clients: int, classes: int, blocks: int, at_once: int, seed: int
) -> None:
    counts = np.random.default_rng(seed).integers(0, 4, size=(clients, classes))
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    order = sorted(range(clients), key=lambda client: (share[client].argmax(), -share[client].max()))
    parts = np.array_split(share[order], min(clients, blocks))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "BLOCKS", blocks)
        patched.setattr(module, "_AT_ONCE", at_once)
        found = label_shares(lambda asked: counts[asked], clients)
    assert found.tolist() == [part.mean(axis=0).tolist() for part in parts]


def test_the_summary_does_not_grow_with_the_population() -> None:
    sizes = []
    for clients in (20_000, 80_000):
        data = load_data(SyntheticData(name="synthetic", train_rows=3 * clients, test_rows=50, features=1), 0)
        told = partition_summary(deal(data, IidPartition(name="iid", num_partitions=clients), 0))
        assert (told["population"], told["rows"]) == (clients, {"3": clients})
        sizes.append(len(json.dumps(told)))
    assert sizes[1] < 1.05 * sizes[0] < 50_000
