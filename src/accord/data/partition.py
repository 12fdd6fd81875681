"""Who holds which rows. Names and meanings are those of flwr-datasets' partitioners.

Every training row is held by exactly one client, and every client holds at least one. Where flwr-datasets
leaves rows out (the remainder of shards, the classes that no client was dealt, sizes that do not add up),
this module deals them too or refuses.

Each partition is a function that names each row's client; rows are then kept by client, in ascending order.
All draws come from `stream(seed, "partition")` and `stream(seed, "test partition")`.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from accord.config.partition import (
    ContiguousPartition,
    DirichletPartition,
    IidPartition,
    NaturalPartition,
    Partition,
    PathologicalPartition,
    ShardPartition,
    SizePartition,
    SortedPartition,
)
from accord.data.federated import GroupColumn, Rows, Shares, Table
from accord.errors import DataError, StudyError
from accord.streams import stream

MAX_DRAWS = 100
"""How often a random partition that breaks a condition is drawn again before it is refused."""


def partition(settings: Partition, table: Table, seed: int) -> Shares:
    """Deals the rows of `table` to clients.

    Args:
        settings: the study's `partition` section.
        table: the training rows, n of them.
        seed: the study's seed.

    Returns:
        Which client holds which rows: disjoint, all n rows, no client empty.

    Raises:
        DataError: the partition cannot be made of these rows, or leaves a client without any.
        StudyError: `partition_by` names no column.
    """
    shares = _RULES[type(settings)](settings, table, stream(seed, "partition"))
    empty = np.flatnonzero(shares.sizes() == 0)
    if len(empty):
        classes = len(np.unique(table.y.numpy()))
        again = isinstance(settings, DirichletPartition) and len(table) >= len(shares)
        mend = (
            "set partition.min_partition_size to 1 or more, or raise partition.alpha"
            if again
            else f"set partition.num_partitions to at most {len(table)}"
        )
        raise DataError(
            f"partition {settings.name}: client {empty[0]} of {len(shares)} would hold no rows ({len(table)} "
            f"training rows of {classes} classes, {len(empty)} clients empty); {mend}"
        )
    return shares


def label_counts(shares: Shares, table: Table, classes: int, clients: Rows | None = None) -> Rows:
    """How many rows of each class each client holds: shape `[clients, classes]`.

    Args:
        shares: who holds which rows of `table`.
        table: rows whose labels lie in `[0, classes)`.
        classes: how many labels there are.
        clients: whom to count, in any order; None counts all.
    """
    starts, ends = shares.offsets[:-1], shares.offsets[1:]
    if clients is not None:
        starts, ends = starts[clients], ends[clients]
    sizes = ends - starts
    before = np.cumsum(sizes) - sizes  # of those counted: how many rows come before a client's
    held = shares.order[np.arange(int(sizes.sum())) + np.repeat(starts - before, sizes)]
    cells = np.repeat(np.arange(len(sizes)), sizes) * classes + table.y.numpy()[held]
    return np.bincount(cells, minlength=len(sizes) * classes).reshape(len(sizes), classes)


def deal_test(settings: Partition, train: Table, shares: Shares, test: Table, seed: int) -> Shares:
    """Deals the test rows so that each client's share looks like what it trains on.

    `natural`: a test row goes to the client that holds the training rows with its value of the column. All
    other partitions, and test rows whose value no client holds: the test rows of each class, shuffled, are
    dealt in proportion to the clients' training rows of that class by largest remainder, ties in random
    order; a class without training rows is dealt in proportion to all rows held.

    Args:
        settings: the study's `partition` section.
        train: the training rows.
        shares: who holds which training rows.
        test: the test rows, m of them.
        seed: the study's seed.

    Returns:
        Shares of the same clients: disjoint, all m rows; a client may have none.
    """
    rng = stream(seed, "test partition")
    owner = np.full(len(test), -1, dtype=np.int64)
    if isinstance(settings, NaturalPartition):
        held, wanted = (_column(settings.partition_by, table).codes for table in (train, test))
        client_of = np.full(max(int(held.max()), int(wanted.max())) + 1, -1, dtype=np.int64)
        client_of[held[shares.order]] = _owners(shares)
        owner = client_of[wanted]
    owner_of_train = np.empty(len(train), dtype=np.int64)
    owner_of_train[shares.order] = _owners(shares)
    train_labels, test_labels = train.y.numpy(), test.y.numpy()
    for label in np.unique(test_labels[owner < 0]):
        rows = np.flatnonzero((test_labels == label) & (owner < 0))
        counts = np.bincount(owner_of_train[train_labels == label], minlength=len(shares))
        sizes = _apportion(len(rows), counts if counts.any() else shares.sizes(), rng)
        owner[rng.permutation(rows)] = np.repeat(np.arange(len(shares)), sizes)
    return _shares(owner, len(shares), shares.names)


def _apportion(rows: int, weights: Rows, rng: np.random.Generator) -> Rows:
    """`rows` cut in proportion to `weights` by largest remainder, in exact integers; ties at random."""
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


def _owners(shares: Shares) -> Rows:
    """The client of each entry of `shares.order`."""
    return np.repeat(np.arange(len(shares), dtype=np.int64), shares.sizes())


def _shares(owner: Rows, clients: int, names: tuple[str, ...] = ()) -> Shares:
    """Shares from each row's client, `owner` of shape `[n]`."""
    offsets = np.zeros(clients + 1, dtype=np.int64)
    np.cumsum(np.bincount(owner, minlength=clients), out=offsets[1:])
    return Shares(np.argsort(owner, kind="stable"), offsets, names)


def _even_sizes(n: int, parts: int) -> Rows:
    """n cut into parts that differ by at most one, the larger ones first."""
    sizes = np.full(parts, n // parts, dtype=np.int64)
    sizes[: n % parts] += 1
    return sizes


def _cut(order: Rows, sizes: Rows) -> Shares:
    """The rows in `order` cut into consecutive parts of `sizes`."""
    owner = np.empty(len(order), dtype=np.int64)
    owner[order] = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    return _shares(owner, len(sizes))


def _by_label(table: Table) -> Rows:
    return np.argsort(table.y.numpy(), kind="stable")


def _rows_by_class(table: Table) -> list[Rows]:
    """The rows of each class that occurs, by ascending label."""
    _, counts = np.unique(table.y.numpy(), return_counts=True)
    return np.split(_by_label(table), np.cumsum(counts)[:-1])


def _iid(settings: IidPartition, table: Table, rng: np.random.Generator) -> Shares:
    """Shuffled rows in equal parts; the first n mod num_partitions clients hold one row more."""
    return _cut(rng.permutation(len(table)), _even_sizes(len(table), settings.num_partitions))


def _contiguous(settings: ContiguousPartition, table: Table, rng: np.random.Generator) -> Shares:
    return _cut(np.arange(len(table)), _even_sizes(len(table), settings.num_partitions))


def _sorted(settings: SortedPartition, table: Table, rng: np.random.Generator) -> Shares:
    return _cut(_by_label(table), _even_sizes(len(table), settings.num_partitions))


def _size(settings: SizePartition, table: Table, rng: np.random.Generator) -> Shares:
    sizes = np.array(settings.partition_sizes, dtype=np.int64)
    if sizes.sum() != len(table):
        raise DataError(
            f"partition.partition_sizes: the {len(sizes)} sizes add up to {sizes.sum()}, but the training "
            f"rows are {len(table)}; make them add up"
        )
    return _cut(rng.permutation(len(table)), sizes)


def _shard(settings: ShardPartition, table: Table, rng: np.random.Generator) -> Shares:
    """McMahan et al. 2017, section 3. Shards differ by at most one row, so that none is left over."""
    clients, each = settings.num_partitions, settings.num_shards_per_partition
    if clients * each > len(table):
        raise DataError(
            f"partition shard: {clients} clients with {each} shards each need {clients * each} rows, but the "
            f"training rows are {len(table)}; lower partition.num_partitions or "
            "partition.num_shards_per_partition"
        )
    sizes = _even_sizes(len(table), clients * each)
    client_of_shard = rng.permutation(np.repeat(np.arange(clients, dtype=np.int64), each))
    owner = np.empty(len(table), dtype=np.int64)
    owner[_by_label(table)] = np.repeat(client_of_shard, sizes)
    return _shares(owner, clients)


def _natural(settings: NaturalPartition, table: Table, rng: np.random.Generator) -> Shares:
    """One client for each value that occurs in the training rows, in the order of the column's values."""
    column = _column(settings.partition_by, table)
    present, owner = np.unique(column.codes, return_inverse=True)
    return _shares(owner.astype(np.int64), len(present), tuple(column.names[code] for code in present))


def _column(name: str, table: Table) -> GroupColumn:
    if name == "label":
        codes = table.y.numpy()
        return GroupColumn(codes, tuple(str(label) for label in range(int(codes.max()) + 1)))
    if name not in table.groups:
        names = [*table.groups, "label"]
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        raise StudyError(
            f"partition.partition_by: the data has no column {name!r}; did you mean {nearest!r}? "
            f"(columns: {', '.join(names)})"
        )
    return table.groups[name]


def _dirichlet(settings: DirichletPartition, table: Table, rng: np.random.Generator) -> Shares:
    """Yurochkin et al. 2019, "Bayesian Nonparametric Federated Learning of Neural Networks", section 4.

    The proportions of each class over the clients are one draw of Dirichlet(alpha). With `self_balancing`,
    a client that holds more than n / num_partitions rows gets none of the classes still to come, as in
    flwr-datasets.
    """
    n, clients, least = len(table), settings.num_partitions, settings.min_partition_size
    rows_by_class = _rows_by_class(table)
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
                return _shares(owner, clients)
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


def _pathological(settings: PathologicalPartition, table: Table, rng: np.random.Generator) -> Shares:
    """Li et al. 2022, "Federated Learning on Non-IID Data Silos", section IV-A, quantity of classes.

    The rows of a class are shuffled and cut equally over the clients that hold it. Classes are assigned
    again where a class got no client, or more clients than it has rows.
    """
    clients, each = settings.num_partitions, settings.num_classes_per_partition
    rows_by_class = _rows_by_class(table)
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
        owner[rng.permutation(rows)] = np.repeat(clients_of_class, _even_sizes(len(rows), len(clients_of_class)))
    return _shares(owner, clients)


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


_RULES: Mapping[type, Callable[[Any, Table, np.random.Generator], Shares]] = {
    IidPartition: _iid,
    DirichletPartition: _dirichlet,
    ShardPartition: _shard,
    PathologicalPartition: _pathological,
    SizePartition: _size,
    NaturalPartition: _natural,
    ContiguousPartition: _contiguous,
    SortedPartition: _sorted,
}
