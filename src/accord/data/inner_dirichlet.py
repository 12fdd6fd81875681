"""Partitions by quantity and by label: sizes first, then the labels within each client.

After Acar et al. 2021, "Federated Learning Based on Dynamic Regularization", appendix. Each client draws proportions
over the classes from Dirichlet(alpha), and the labels of its rows from these.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from accord.config.partition import (
    InnerDirichletParallelPartition,
    InnerDirichletPartition,
    InnerDirichletSection,
)
from accord.core.errors import DataError
from accord.data.federated import ClientRows, Rows, Table
from accord.data.quantity import given_sizes, quantity_sizes
from accord.data.splits import shares_of, split_by_class

Floats = NDArray[np.float64]
DEFAULT_PARTITIONS = 10
"""The number of clients where the study gives neither their number nor their sizes."""
_AT_ONCE = 2**16  # rows whose classes are drawn together: memory is this times classes


def inner_dirichlet(settings: InnerDirichletPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Assigns row by row to a client drawn uniformly among those not full, as Acar et al.'s code and flwr-datasets do.

    A small client is therefore full early, while all classes last. The last rows go to the large clients. Many of them
    are of the classes that are left, whatever the proportions of these clients.

    Raises:
        DataError: the sizes do not add up to the rows, a client would have no rows, or alpha lists another number of
            classes.
    """
    return _dealt(settings, table, rng, _counts_row_by_row)


def inner_dirichlet_parallel(
    settings: InnerDirichletParallelPartition, table: Table, rng: np.random.Generator
) -> ClientRows:
    """Lets all clients draw all rows at once, so that a shortage of a class affects large and small clients alike.

    Raises:
        DataError: as `inner_dirichlet`.
    """
    return _dealt(settings, table, rng, _counts_in_parallel)


def _dealt(
    settings: InnerDirichletPartition | InnerDirichletParallelPartition,
    table: Table,
    rng: np.random.Generator,
    count: Callable[[Rows, Rows, Floats, np.random.Generator], Rows],
) -> ClientRows:
    if settings.partition_sizes is not None:
        sizes = given_sizes(settings.partition_sizes, len(table))
    else:
        clients, least = settings.num_partitions or DEFAULT_PARTITIONS, settings.min_partition_size
        weights = _size_weights(settings, clients, rng)
        sizes = quantity_sizes(settings.name, settings.quantity, clients, least, len(table), weights)
    rows_by_class = split_by_class(table)
    if isinstance(settings.alpha, tuple) and len(settings.alpha) != len(rows_by_class):
        raise DataError(
            f"partition.alpha lists {len(settings.alpha)} numbers, but the training rows have {len(rows_by_class)} "
            "classes; give one a class"
        )
    share = rng.dirichlet(np.broadcast_to(settings.alpha, len(rows_by_class)), size=len(sizes))
    counts = count(sizes, np.array([len(rows) for rows in rows_by_class]), share, rng)
    owner = np.empty(len(table), dtype=np.int64)
    for rows, rows_of_client in zip(rows_by_class, counts.T, strict=True):
        # Counts alone are drawn above; which rows of a class they are is a permutation, so any of them may be anyone's.
        owner[rng.permutation(rows)] = np.repeat(np.arange(len(sizes)), rows_of_client)
    return shares_of(owner, len(sizes))


def _counts_row_by_row(sizes: Rows, available: Rows, share: Floats, rng: np.random.Generator) -> Rows:
    """Counts the rows of each class that each client gets, shape `[clients, classes]`, with both sums as given.

    Args:
        sizes: rows of each client, shape `[clients]`.
        available: rows of each class, shape `[classes]`, with the same sum.
        share: each client's proportions over the classes, shape `[clients, classes]`.
        rng: draws clients and classes.

    The loop of flwr-datasets draws a client and then a class for one row after the other. This function draws from the
    same distribution without a loop over rows. Which client is next does not depend on classes, so all clients are
    drawn first. Classes are then drawn for all remaining rows at once, and used up to the row at which one of them runs
    out. The rows from there on draw again from the classes left. There are thus at most as many passes as classes.
    """
    client = _order_of_clients(sizes, rng)
    counts = np.zeros((len(sizes), len(available)), dtype=np.int64)
    stock, done = available.copy(), 0
    while done < len(client):
        left = np.flatnonzero(stock)
        label = left[_draw_classes(_proportions(share[:, left], stock[left]), client[done:], rng)]
        taken = _rows_until_exhausted(label, stock)
        # Not `counts[...] += 1`, which counts a repeated (client, class) pair only once.
        np.add.at(counts, (client[done : done + taken], label[:taken]), 1)
        stock -= np.bincount(label[:taken], minlength=len(stock))
        done += taken
    return counts


def _order_of_clients(sizes: Rows, rng: np.random.Generator) -> Rows:
    """Draws the client of each row in turn, uniformly among those that are not full, with shape `[sum of sizes]`.

    Suppose each client rings at times with independent exponential gaps of one mean, as often as it has rows. The next
    to ring is then uniform among those that have not rung their last, since exponential gaps have no memory.
    """
    client = np.repeat(np.arange(len(sizes)), sizes)
    total = np.cumsum(rng.standard_exponential(len(client)))
    first = np.cumsum(sizes) - sizes
    start = np.where(first > 0, total[np.maximum(first - 1, 0)], 0.0)  # what the clients before have added up
    order: Rows = client[np.argsort(total - np.repeat(start, sizes), kind="stable")]
    return order


def _draw_classes(share: Floats, client: Rows, rng: np.random.Generator) -> Rows:
    """Draws a class for each row from its client's proportions, with the shape of `client`."""
    upto = np.cumsum(share, axis=1)
    label = np.empty(len(client), dtype=np.int64)
    for start in range(0, len(client), _AT_ONCE):
        some = client[start : start + _AT_ONCE]
        # Inverse of the cumulative distribution: how many steps of it lie at or below a uniform number.
        uniform = rng.random(len(some)) * upto[some, -1]
        label[start : start + _AT_ONCE] = (upto[some] <= uniform[:, None]).sum(axis=1)
    most: Rows = np.minimum(label, share.shape[1] - 1)
    return most


def _rows_until_exhausted(label: Rows, stock: Rows) -> int:
    """Counts the rows, in order, before the first that draws a class with no rows left."""
    # Sorted by class, stable: a row's rank within its class is how many rows before it drew the same.
    order = np.argsort(label, kind="stable")
    counts = np.bincount(label, minlength=len(stock))
    rank = np.arange(len(label)) - np.repeat(np.cumsum(counts) - counts, counts)  # the how-manieth of its class
    short = order[rank >= stock[label[order]]]
    return int(short.min()) if len(short) else len(label)


def _size_weights(settings: InnerDirichletSection, clients: int, rng: np.random.Generator) -> Floats | None:
    """Draws the proportions of the clients' sizes. None where sizes are not random."""
    if settings.quantity == "dirichlet":
        return rng.dirichlet(np.full(clients, settings.size_alpha))
    if settings.quantity == "log-normal":
        logarithms = settings.size_sigma * rng.standard_normal(clients)
        weights: Floats = np.exp(logarithms - logarithms.max())  # the largest is 1: nothing overflows
        return weights
    return None


def _counts_in_parallel(sizes: Rows, available: Rows, share: Floats, rng: np.random.Generator) -> Rows:
    """Counts rows as `_counts_row_by_row` does, with all clients drawing at once.

    A class asked for more rows than it has gives them to as many of those asking, at random. The others draw again from
    the classes that are left, in the same proportions. Where these are zero, they draw in proportion to the rows left.

    A round either assigns all that is left or uses up a class, so there are at most as many rounds as classes.
    """
    counts = np.zeros((len(sizes), len(available)), dtype=np.int64)
    missing, stock = sizes.copy(), available.copy()
    while missing.any():
        left = np.flatnonzero(stock)
        given = rng.multinomial(missing, _proportions(share[:, left], stock[left]))
        for k, label in enumerate(left):
            if given[:, k].sum() > stock[label]:
                given[:, k] = rng.multivariate_hypergeometric(given[:, k], stock[label], method="marginals")
        counts[:, left] += given
        missing -= given.sum(axis=1)
        stock[left] -= given.sum(axis=0)
    return counts


def _proportions(share: Floats, stock: Rows) -> Floats:
    """Scales each line of `share` to the sum 1. A line of zeros becomes proportional to the stock."""
    # Divided by the largest first: with a small alpha the proportions left may be so tiny that their sum underflows.
    largest = share.max(axis=1, keepdims=True)
    scaled = np.divide(share, largest, out=np.empty_like(share), where=largest > 0)
    scaled = np.where(largest > 0, scaled, stock)
    shares: Floats = scaled / scaled.sum(axis=1, keepdims=True)
    return shares
