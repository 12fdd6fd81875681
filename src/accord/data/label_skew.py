"""Partitions by label: each client has its own proportions of the classes, or its own choice of them."""

import numpy as np

from accord.config.partition import DirichletPartition, PathologicalPartition
from accord.core.errors import DataError
from accord.data.federated import ClientRows, Rows, Table
from accord.data.splits import MAX_DRAWS, even_sizes, shares_of, split_by_class


def dirichlet(settings: DirichletPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Splits each class over the clients in proportions drawn from Dirichlet(alpha).

    After Yurochkin et al. 2019, "Bayesian Nonparametric Federated Learning of Neural Networks", section 4. The
    proportions of each class over the clients are one draw. With `self_balancing`, a client with more than n /
    num_partitions rows gets none of the classes still to come, as in flwr-datasets.
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
    """Draws each row's client. None where rounding left every client still open with a proportion of zero."""
    clients = settings.num_partitions
    owner = np.empty(n, dtype=np.int64)
    rows_so_far = np.zeros(clients, dtype=np.int64)
    for rows in rows_by_class:
        share = rng.dirichlet(np.broadcast_to(settings.alpha, clients))
        if settings.self_balancing:
            share[rows_so_far > n / clients] = 0.0
        total = share.sum()
        # With a small alpha all of the mass may be on clients that are closed. `not >` also catches NaN.
        if not total > 0:
            return None
        # Cuts are rounded, not truncated: flwr-datasets gives the last client what truncation leaves.
        boundaries = np.rint(np.cumsum(share / total) * len(rows)).astype(np.int64)[:-1]
        sizes = np.diff(boundaries, prepend=0, append=len(rows))
        owner[rng.permutation(rows)] = np.repeat(np.arange(clients), sizes)
        rows_so_far += sizes
    return owner


def pathological(settings: PathologicalPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Gives each client rows of exactly `num_classes_per_partition` classes.

    After Li et al. 2022, "Federated Learning on Non-IID Data Silos", section IV-A, quantity of classes. The rows of a
    class are shuffled and cut equally over the clients that have the class. Classes are assigned again where a class
    got no client, or more clients than it has rows.
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
        # Assigned again where some class has no client, or more clients than rows.
        assigned = _assign_classes(settings, classes, rng)
        holders = np.bincount(assigned.ravel(), minlength=classes)
        if (holders > 0).all() and (holders <= available).all():
            break
    else:
        raise DataError(_impossible(settings, np.unique(table.y.numpy()), holders, available))
    owner = np.empty(len(table), dtype=np.int64)
    for code, rows in enumerate(rows_by_class):
        clients_of_class = np.flatnonzero((assigned == code).any(axis=1))
        owner[rng.permutation(rows)] = np.repeat(clients_of_class, even_sizes(len(rows), len(clients_of_class)))
    return shares_of(owner, clients)


def _assign_classes(settings: PathologicalPartition, classes: int, rng: np.random.Generator) -> Rows:
    """Draws the classes of each client, shape `[clients, num_classes_per_partition]`, distinct within a client."""
    clients, each = settings.num_partitions, settings.num_classes_per_partition
    first = np.arange(clients) % classes
    if settings.class_assignment_mode == "deterministic":
        return (first[:, None] + np.arange(each)) % classes
    keys = rng.random((clients, classes))  # the classes with the smallest keys are a uniform subset
    if settings.class_assignment_mode == "first-deterministic":
        keys[np.arange(clients), first] = -1.0
    return np.argsort(keys, axis=1)[:, :each]


def _impossible(settings: PathologicalPartition, labels: Rows, holders: Rows, available: Rows) -> str:
    """Returns the error message for classes that cannot be split over so many clients, with what to change."""
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
