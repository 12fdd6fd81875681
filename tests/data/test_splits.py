"""Cutting rows: sizes that add up, and every row with the client it was cut for."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.splits import apportion, by_label, even_sizes, owners, shares_of, split_by_class, split_rows
from label_tables import is_whole, table


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30).filter(any), st.integers(0, 50), st.integers(0, 99))
@settings(derandomize=True, deadline=None)
def test_the_largest_remainders_are_those_a_sort_finds(weights: list[int], rows: int, seed: int) -> None:
    """The remainders are picked, not sorted; the same clients must be picked as by a stable sort in random order."""
    held = np.array(weights)
    sizes, remainder = np.divmod(held * rows, held.sum())
    order = np.random.default_rng(seed).permutation(len(held))
    first = order[np.argsort(-remainder[order], kind="stable")]
    sizes[first[: rows - int(sizes.sum())]] += 1
    assert apportion(rows, held, np.random.default_rng(seed)).tolist() == sizes.tolist()


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 200), st.integers(1, 20), st.integers(0, 99))
def test_parts_are_cut_in_the_order_given(n: int, parts: int, seed: int) -> None:
    sizes = even_sizes(n, parts)
    assert sizes.sum() == n
    assert sizes.max() - sizes.min() <= 1
    assert sorted(sizes, reverse=True) == sizes.tolist()
    order = np.random.default_rng(seed).permutation(n)
    shares = split_rows(order, sizes)
    assert is_whole(shares, n)
    ends = np.cumsum(sizes)
    for client, end in enumerate(ends):
        assert shares.rows(client).tolist() == sorted(order[end - sizes[client] : end])


def test_owners_are_the_inverse_of_shares() -> None:
    owner = np.array([2, 0, 2, 3])
    shares = shares_of(owner, 5, ("a", "b", "c", "d", "e"))
    assert shares.sizes().tolist() == [1, 0, 2, 1, 0]
    assert owners(shares)[np.argsort(shares.order)].tolist() == owner.tolist()
    assert shares.names[4] == "e"


def test_rows_by_label_keep_the_order_of_the_file() -> None:
    rows = table([5, 1, 5, 1, 3])
    assert by_label(rows).tolist() == [1, 3, 4, 0, 2]
    assert [each.tolist() for each in split_by_class(rows)] == [[1, 3], [4], [0, 2]]
