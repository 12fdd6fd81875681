"""Client sizes: closed forms, flwr-datasets' arithmetic, and what is refused."""

from math import exp
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from accord.config.partition import Partition, SizePartition
from accord.core.errors import DataError
from accord.data.partition import deal_test, label_counts, partition
from accord.data.quantity import given_sizes, quantity_sizes
from label_tables import is_whole, random_table

RULES = ("linear", "square", "exponential")
SECTION: TypeAdapter[Any] = TypeAdapter(Partition)


def test_size_gives_the_sizes_asked_for_or_refuses() -> None:
    train = random_table(100, 3)
    shares = partition(SizePartition(name="size", partition_sizes=(70, 10, 20)), train, 0)
    assert shares.sizes().tolist() == [70, 10, 20]
    with pytest.raises(DataError, match=r"^partition\.partition_sizes: .* add up to 99, .* rows are 100"):
        partition(SizePartition(name="size", partition_sizes=(79, 20)), train, 0)


def flwr_sizes(rule: str, n: int, clients: int) -> list[int]:
    """IdToSizeFncPartitioner of flwr-datasets 0.5, line by line."""
    k = np.linspace(start=1, stop=clients, num=clients)
    units = {"linear": k, "square": np.square(k), "exponential": np.exp(k)}[rule]
    sizes = np.array(units / units.sum() * n, dtype=np.int64)
    sizes[-1] += n - sizes.sum()
    return [int(size) for size in sizes]


@pytest.mark.parametrize(
    ("rule", "n", "clients"),
    [
        ("linear", 60_000, 10),
        ("linear", 1437, 37),
        ("square", 60_000, 20),
        ("square", 32_561, 7),
        ("exponential", 60_000, 9),
        ("exponential", 1437, 5),
    ],
)
def test_sizes_are_those_of_flwr_datasets(rule: str, n: int, clients: int) -> None:
    section = SECTION.validate_python({"name": rule, "num_partitions": clients})
    assert partition(section, random_table(n, 3), 0).sizes().tolist() == flwr_sizes(rule, n, clients)


def test_sizes_in_closed_form() -> None:
    assert quantity_sizes("linear", "linear", 4, 0, 100).tolist() == [10, 20, 30, 40]
    assert quantity_sizes("square", "square", 3, 0, 29).tolist() == [2, 8, 19]  # 29/14 times 1, 4, 9; the rest last
    assert quantity_sizes("linear", "linear", 4, 5, 120).tolist() == [15, 25, 35, 45]
    assert quantity_sizes("x", "even", 3, 0, 8).tolist() == [3, 3, 2]
    weights = np.array([1.0, 2.0, 1.0])
    assert quantity_sizes("x", "drawn", 3, 1, 11, weights).tolist() == [3, 5, 3]


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(RULES), st.integers(1, 40), st.integers(0, 5), st.integers(1, 3000))
def test_each_client_holds_its_part_rounded_down(rule: str, clients: int, least: int, n: int) -> None:
    def weight(k: int) -> float:
        return {"linear": float(k), "square": float(k * k), "exponential": exp(k)}[rule]

    try:
        sizes = quantity_sizes(rule, rule, clients, least, n)
    except DataError as refused:
        assert "\n" not in str(refused)  # noqa: PT017 - either outcome is right, a two-line message is not
        return
    assert sizes.sum() == n
    assert sizes.min() >= max(1, least)
    parts = [(n - clients * least) * weight(k) / sum(map(weight, range(1, clients + 1))) for k in range(1, clients + 1)]
    for size, part in zip(sizes[:-1] - least, parts, strict=False):
        assert part - 1 - 1e-6 < size <= part + 1e-6
    assert sizes[-1] - least >= parts[-1] - 1e-6


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(RULES), st.integers(1, 2000))
def test_the_number_of_clients_named_in_a_refusal_is_the_largest_that_works(rule: str, n: int) -> None:
    with pytest.raises(DataError, match="num_partitions to at most") as caught:
        quantity_sizes(rule, rule, 100, 0, n)
    most = int(str(caught.value).split("at most ")[1].split(",")[0])
    assert quantity_sizes(rule, rule, most, 0, n).min() >= 1
    with pytest.raises(DataError, match=f"at most {most}"):
        quantity_sizes(rule, rule, most + 1, 0, n)


def test_what_cannot_be_is_refused_with_the_mend() -> None:
    with pytest.raises(
        DataError, match=r"^partition exponential: client 0 of 10 would hold no rows \(1437 .* 3 clients"
    ):
        quantity_sizes("exponential", "exponential", 10, 0, 1437)
    with pytest.raises(DataError, match=r"at most 7, or set partition\.min_partition_size to 1 or more$"):
        quantity_sizes("exponential", "exponential", 10, 0, 1437)
    with pytest.raises(DataError, match="10 clients cannot hold 200 rows each of 1437 training rows"):
        quantity_sizes("linear", "linear", 10, 200, 1437)
    with pytest.raises(DataError, match="2 sizes add up to 3, but the training rows are 4"):
        given_sizes((1, 2), 4)


def test_a_thousand_exponential_clients_with_a_row_each() -> None:
    sizes = quantity_sizes("exponential", "exponential", 1000, 1, 60_000)
    assert sizes[:900].tolist() == [1] * 900
    assert sizes[-1] == pytest.approx(59_000 * (1 - exp(-1)), abs=50)


@pytest.mark.parametrize("rule", RULES)
def test_rows_are_shuffled_and_test_rows_follow_them(rule: str) -> None:
    train, test = random_table(4000, 4), random_table(800, 4, seed=1)
    section = SECTION.validate_python({"name": rule, "num_partitions": 6})
    one, other = (partition(section, train, seed) for seed in (0, 1))
    assert is_whole(one, 4000)
    assert (one.order != other.order).any()
    labels = label_counts(one, train, 4) / one.sizes()[:, None]
    assert np.abs(labels[-1] - 0.25).max() < 0.05
    dealt = deal_test(section, train, one, test, 0)
    assert is_whole(dealt, 800)
    assert np.abs(dealt.sizes() - one.sizes() / 5).max() < 6
