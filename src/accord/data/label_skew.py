"""Partitions by label: each client holds the classes in proportions, or in a choice, of its own."""

import numpy as np
from numpy.typing import NDArray

from accord.config.partition import DirichletPartition, InnerDirichletPartition, PathologicalPartition
from accord.core.errors import DataError
from accord.data.federated import ClientRows, Rows, Table
from accord.data.quantity import given_sizes, quantity_sizes
from accord.data.splits import MAX_DRAWS, even_sizes, shares_of, split_by_class

Floats = NDArray[np.float64]
DEFAULT_PARTITIONS = 10
"""Clients of inner-dirichlet where the study gives neither their number nor their sizes."""


def dirichlet(settings: DirichletPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Yurochkin et al. 2019, "Bayesian Nonparametric Federated Learning of Neural Networks", section 4.

    The proportions of each class over the clients are one draw of Dirichlet(alpha). With `self_balancing`,
    a client that holds more than n / num_partitions rows gets none of the classes still to come, as in
    flwr-datasets.
    """
    n, clients, least = len(table), settings.num_partitions, settings.min_partition_size
    rows_by_class = split_by_class(table)
    if clients * least > n:
        raise DataError(
            f"partition dirichlet: {clients} clients cannot hold {least} rows each of {n} training rows "
            f"({len(rows_by_class)} classes); lower partition.num_partitions or partition.min_partition_size"
        )
    smallest = -1
    for _ in range(MAX_DRAWS):
        owner = _dirichlet_draw(settings, rows_by_class, n, rng)
        if owner is not None:
            smallest = int(np.bincount(owner, minlength=clients).min())
            if smallest >= least:
                return shares_of(owner, clients)
    reached = f"a client held only {smallest} rows" if smallest >= 0 else "no client was open to a class"
    raise DataError(
        f"partition dirichlet: in each of {MAX_DRAWS} draws of {n} rows ({len(rows_by_class)} classes) over "
        f"{clients} clients some client fell short of {least} rows (in the last, {reached}); raise "
        "partition.alpha, or lower partition.num_partitions or partition.min_partition_size"
    )


def _dirichlet_draw(
    settings: DirichletPartition, rows_by_class: list[Rows], n: int, rng: np.random.Generator
) -> Rows | None:
    """Each row's client; None where rounding left every client still open with a proportion of zero."""
    clients = settings.num_partitions
    owner = np.empty(n, dtype=np.int64)
    held = np.zeros(clients, dtype=np.int64)
    for rows in rows_by_class:
        share = rng.dirichlet(np.full(clients, settings.alpha))
        if settings.self_balancing:
            share[held > n / clients] = 0.0
        total = share.sum()
        if not total > 0:
            return None
        cuts = np.rint(np.cumsum(share / total) * len(rows)).astype(np.int64)[:-1]
        sizes = np.diff(cuts, prepend=0, append=len(rows))
        owner[rng.permutation(rows)] = np.repeat(np.arange(clients), sizes)
        held += sizes
    return owner


def inner_dirichlet(settings: InnerDirichletPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Acar et al. 2021, "Federated Learning Based on Dynamic Regularization", appendix: sizes first, labels within.

    Each client draws proportions over the classes from Dirichlet(alpha), and the labels of its rows from these. A
    class asked for more rows than it has left gives them to as many of those asking, at random; the others draw again
    from the classes that are left, in the same proportions, or where these are zero, as many rows as are left.
    (flwr-datasets draws row by row, and gives a class's last rows to those that come first.)

    Raises:
        DataError: the sizes do not add up to the rows, or leave a client without any.
    """
    if settings.partition_sizes is not None:
        sizes = given_sizes(settings.partition_sizes, len(table))
    else:
        clients, least = settings.num_partitions or DEFAULT_PARTITIONS, settings.min_partition_size
        weights = _size_weights(settings, clients, rng)
        sizes = quantity_sizes(settings.name, settings.quantity, clients, least, len(table), weights)
    rows_by_class = split_by_class(table)
    counts = _inner_counts(sizes, np.array([len(rows) for rows in rows_by_class]), settings.alpha, rng)
    owner = np.empty(len(table), dtype=np.int64)
    for rows, held in zip(rows_by_class, counts.T, strict=True):
        owner[rng.permutation(rows)] = np.repeat(np.arange(len(sizes)), held)
    return shares_of(owner, len(sizes))


def _size_weights(settings: InnerDirichletPartition, clients: int, rng: np.random.Generator) -> Floats | None:
    """Proportions of the clients' sizes where they are drawn at random; else None."""
    if settings.quantity == "dirichlet":
        return rng.dirichlet(np.full(clients, settings.size_alpha))
    if settings.quantity == "log-normal":
        logarithms = settings.size_sigma * rng.standard_normal(clients)
        weights: Floats = np.exp(logarithms - logarithms.max())  # the largest is 1: nothing overflows
        return weights
    return None


def _inner_counts(sizes: Rows, available: Rows, alpha: float, rng: np.random.Generator) -> Rows:
    """How many rows of each class each client gets: shape `[clients, classes]`, with both sums as given.

    A round either deals all that is left or uses up a class, so there are at most as many rounds as classes.
    """
    share = rng.dirichlet(np.full(len(available), alpha), size=len(sizes))
    counts = np.zeros((len(sizes), len(available)), dtype=np.int64)
    missing, stock = sizes.copy(), available.copy()
    while missing.any():
        left = np.flatnonzero(stock)
        given = rng.multinomial(missing, _proportions(share[:, left], stock[left]))
        for place, label in enumerate(left):
            if given[:, place].sum() > stock[label]:
                given[:, place] = rng.multivariate_hypergeometric(given[:, place], stock[label], method="marginals")
        counts[:, left] += given
        missing -= given.sum(axis=1)
        stock[left] -= given.sum(axis=0)
    return counts


def _proportions(share: Floats, stock: Rows) -> Floats:
    """Each line of `share` scaled to the sum 1; in proportion to the stock where it is all zero."""
    largest = share.max(axis=1, keepdims=True)
    scaled = np.divide(share, largest, out=np.empty_like(share), where=largest > 0)
    scaled = np.where(largest > 0, scaled, stock)
    shares: Floats = scaled / scaled.sum(axis=1, keepdims=True)
    return shares


def pathological(settings: PathologicalPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Li et al. 2022, "Federated Learning on Non-IID Data Silos", section IV-A, quantity of classes.

    The rows of a class are shuffled and cut equally over the clients that hold it. Classes are assigned
    again where a class got no client, or more clients than it has rows.
    """
    clients, each = settings.num_partitions, settings.num_classes_per_partition
    rows_by_class = split_by_class(table)
    classes, available = len(rows_by_class), np.array([len(rows) for rows in rows_by_class])
    if each > classes:
        raise DataError(
            f"partition pathological: {each} classes a client, but the training rows have {classes}; "
            f"set partition.num_classes_per_partition to at most {classes}"
        )
    draws = 1 if settings.class_assignment_mode == "deterministic" else MAX_DRAWS
    for _ in range(draws):
        held = _assign_classes(settings, classes, rng)
        holders = np.bincount(held.ravel(), minlength=classes)
        if (holders > 0).all() and (holders <= available).all():
            break
    else:
        raise DataError(_impossible(settings, np.unique(table.y.numpy()), holders, available))
    owner = np.empty(len(table), dtype=np.int64)
    for code, rows in enumerate(rows_by_class):
        clients_of_class = np.flatnonzero((held == code).any(axis=1))
        owner[rng.permutation(rows)] = np.repeat(clients_of_class, even_sizes(len(rows), len(clients_of_class)))
    return shares_of(owner, clients)


def _assign_classes(settings: PathologicalPartition, classes: int, rng: np.random.Generator) -> Rows:
    """Which classes each client holds: shape `[clients, num_classes_per_partition]`, distinct in a row."""
    clients, each = settings.num_partitions, settings.num_classes_per_partition
    first = np.arange(clients) % classes
    if settings.class_assignment_mode == "deterministic":
        return (first[:, None] + np.arange(each)) % classes
    keys = rng.random((clients, classes))  # the classes with the smallest keys are a uniform subset
    if settings.class_assignment_mode == "first-deterministic":
        keys[np.arange(clients), first] = -1.0
    return np.argsort(keys, axis=1)[:, :each]


def _impossible(settings: PathologicalPartition, labels: Rows, holders: Rows, available: Rows) -> str:
    """Why classes held by so many clients, with so many rows available, cannot be dealt, and the mend."""
    clients, each = settings.num_partitions, settings.num_classes_per_partition
    start = f"partition pathological: {clients} clients of {each} classes each"
    if (holders == 0).any():
        covers = settings.class_assignment_mode != "deterministic" and clients + each > len(labels)
        return (
            f"{start} leave label {labels[np.argmin(holders)]} of {len(labels)} classes to no client; raise "
            "partition.num_partitions or partition.num_classes_per_partition"
            + (", or set partition.class_assignment_mode to deterministic" if covers else "")
        )
    short = int(np.argmax(holders > available))
    return (
        f"{start} want label {labels[short]} at {holders[short]} clients, but it has {available[short]} "
        "rows; lower partition.num_partitions or partition.num_classes_per_partition"
    )
