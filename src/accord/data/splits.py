"""Cuts rows into clients' parts. Every partition is built from these functions."""

import numpy as np

from accord.data.federated import ClientRows, Rows, Table

MAX_DRAWS = 100
"""How often a random partition that breaks a condition is drawn again before it is refused."""


def apportion(rows: int, weights: Rows, rng: np.random.Generator) -> Rows:
    """Splits `rows` in proportion to `weights` by largest remainder, in exact integers. Ties are broken at random."""
    # Exact in int64 up to 9 * 10^18: weights and rows are both counts of rows.
    sizes, remainder = np.divmod(weights * rows, weights.sum())
    order = rng.permutation(len(weights))
    left = rows - int(sizes.sum())
    if left:
        # The `left` largest remainders without sorting a million of them: those above the last one let in, and of
        # those equal to it the first in random order.
        last = np.partition(remainder, len(remainder) - left)[len(remainder) - left]
        sizes[remainder > last] += 1
        tied = order[remainder[order] == last]
        sizes[tied[: left - int((remainder > last).sum())]] += 1
    return sizes


def owners(shares: ClientRows) -> Rows:
    """Returns the client of each entry of `shares.order`."""
    return np.repeat(np.arange(len(shares), dtype=np.int64), shares.sizes())


def shares_of(owner: Rows, clients: int, names: tuple[str, ...] = ()) -> ClientRows:
    """Builds ClientRows from each row's client, `owner` of shape `[n]`."""
    offsets = np.zeros(clients + 1, dtype=np.int64)
    np.cumsum(np.bincount(owner, minlength=clients), out=offsets[1:])
    # A stable sort keeps each client's rows in ascending order.
    return ClientRows(np.argsort(owner, kind="stable"), offsets, names)


def even_sizes(n: int, parts: int) -> Rows:
    """Splits n into parts that differ by at most one, the larger ones first."""
    sizes = np.full(parts, n // parts, dtype=np.int64)
    sizes[: n % parts] += 1
    return sizes


def split_rows(order: Rows, sizes: Rows) -> ClientRows:
    """Cuts the rows in `order` into consecutive parts of `sizes`."""
    owner = np.empty(len(order), dtype=np.int64)
    owner[order] = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    return shares_of(owner, len(sizes))


def by_label(table: Table) -> Rows:
    """Returns the rows sorted by label, ties in file order."""
    return np.argsort(table.y.numpy(), kind="stable")


def split_by_class(table: Table) -> list[Rows]:
    """Returns the rows of each class that occurs, by ascending label."""
    _, counts = np.unique(table.y.numpy(), return_counts=True)
    return np.split(by_label(table), np.cumsum(counts)[:-1])
