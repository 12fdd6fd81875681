"""Assigns rows to clients. Names and meanings are those of flwr-datasets' partitioners.

Every training row belongs to exactly one client, and every client has at least one row. Where flwr-datasets leaves rows
out, this module assigns them too or refuses. Examples are the remainder of shards, classes that no client was assigned,
and sizes that do not add up.

Each partition is a function that returns each row's client. Rows are then stored by client, in ascending order. All
draws come from `stream(seed, "partition")` and `stream(seed, "test partition")`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from accord.config.partition import (
    ContiguousPartition,
    ContinuousPartition,
    DirichletPartition,
    DistributionPartition,
    ExponentialPartition,
    GroupedNaturalPartition,
    IidPartition,
    InnerDirichletParallelPartition,
    InnerDirichletPartition,
    InnerDirichletSection,
    LinearPartition,
    NaturalPartition,
    Partition,
    PathologicalPartition,
    ShardPartition,
    SizePartition,
    SortedPartition,
    SquarePartition,
)
from accord.core.errors import DataError
from accord.core.streams import stream
from accord.data.continuous import continuous
from accord.data.distribution import distribution
from accord.data.federated import ClientRows, Rows, Table, named_column, refuse_numbers
from accord.data.inner_dirichlet import inner_dirichlet, inner_dirichlet_parallel
from accord.data.label_skew import dirichlet, pathological
from accord.data.natural import grouped_natural, natural
from accord.data.quantity import size, skewed
from accord.data.splits import apportion, by_label, even_sizes, owners, shares_of, split_rows


def partition(settings: Partition, table: Table, seed: int) -> ClientRows:
    """Assigns the rows of `table` to clients.

    Args:
        settings: the study's `partition` section.
        table: the training rows, n of them.
        seed: the study's seed.

    Returns:
        The rows of each client. They are disjoint and cover all n rows, and no client is empty.

    Raises:
        DataError: the partition cannot be made of these rows, or leaves a client without any.
        StudyError: `partition_by` names no column, or the rule assigns classes and targets are numbers.
    """
    if isinstance(settings, _BY_CLASS):
        refuse_numbers(
            table,
            f"partition {settings.name}",
            "use iid, sizes (size, linear, square, exponential), natural, or sorted and shard, which go by its size",
        )
    shares = _RULES[type(settings)](settings, table, stream(seed, "partition"))
    # Checked once for all rules, most of which can leave a client empty when clients outnumber rows.
    empty = np.flatnonzero(shares.sizes() == 0)
    if len(empty):
        classes = len(np.unique(table.labels()))
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


def label_counts(shares: ClientRows, table: Table, classes: int, clients: Rows | None = None) -> Rows:
    """Counts the rows of each class at each client, shape `[clients, classes]`.

    Args:
        shares: the rows of `table` at each client.
        table: rows whose labels are in `[0, classes)`.
        classes: how many labels there are, or 0 where targets are numbers.
        clients: which clients to count, in any order. None counts all.
    """
    starts, ends = shares.offsets[:-1], shares.offsets[1:]
    if clients is not None:
        starts, ends = starts[clients], ends[clients]
    sizes = ends - starts
    if not classes:
        return np.zeros((len(sizes), 0), dtype=np.int64)
    before = np.cumsum(sizes) - sizes  # of those counted: how many rows come before a client's
    rows = shares.order[np.arange(int(sizes.sum())) + np.repeat(starts - before, sizes)]
    # One count over (client, label) pairs, each pair numbered as one cell.
    cells = np.repeat(np.arange(len(sizes)), sizes) * classes + table.y.numpy()[rows]
    return np.bincount(cells, minlength=len(sizes) * classes).reshape(len(sizes), classes)


def deal_test(settings: Partition, train: Table, shares: ClientRows, test: Table, seed: int) -> ClientRows:
    """Assigns the test rows so that each client's share looks like its training rows.

    With `natural`, a test row goes to the client whose training rows have its value of the column. All other
    partitions, and test rows whose value no client has, go class by class. The shuffled test rows of a class are split
    in proportion to the clients' training rows of that class by largest remainder, with ties in random order. A class
    without training rows is split in proportion to all training rows of the clients. Where targets are numbers, the
    tenths of the training rows by target stand in for classes.

    Args:
        settings: the study's `partition` section.
        train: the training rows.
        shares: the training rows of each client.
        test: the test rows, m of them.
        seed: the study's seed.

    Returns:
        ClientRows of the same clients. They are disjoint and cover all m rows, and a client may have none.
    """
    rng = stream(seed, "test partition")
    owner = np.full(len(test), -1, dtype=np.int64)
    if isinstance(settings, NaturalPartition | GroupedNaturalPartition):
        # By value, not by code. A value that only test rows have belongs to no client, and its rows are assigned below.
        train_codes, test_codes = (
            named_column(table, settings.partition_by, "partition.partition_by").codes for table in (train, test)
        )
        client_of = np.full(max(int(train_codes.max()), int(test_codes.max())) + 1, -1, dtype=np.int64)
        client_of[train_codes[shares.order]] = owners(shares)
        owner = client_of[test_codes]
    # The inverse of `shares.order`: each training row's client.
    owner_of_train = np.empty(len(train), dtype=np.int64)
    owner_of_train[shares.order] = owners(shares)
    train_labels, test_labels = _strata(train, test)
    # Ascending labels, so that the stream is used in one order whatever the order of rows.
    for label in np.unique(test_labels[owner < 0]):
        rows = np.flatnonzero((test_labels == label) & (owner < 0))
        counts = np.bincount(owner_of_train[train_labels == label], minlength=len(shares))
        sizes = apportion(len(rows), counts if counts.any() else shares.sizes(), rng)
        owner[rng.permutation(rows)] = np.repeat(np.arange(len(shares)), sizes)
    return shares_of(owner, len(shares), shares.names)


def _strata(train: Table, test: Table) -> tuple[Rows, Rows]:
    """Returns the classes that test rows are split by: labels, or the tenth of the training targets a number is in."""
    if not train.holds_numbers:
        return train.y.numpy(), test.y.numpy()
    # Cut by the training targets alone, for both parts: test targets must not move the strata.
    tenths = np.quantile(train.y.numpy(), np.arange(1, 10) / 10)
    train_bins, test_bins = (np.searchsorted(tenths, table.y.numpy()) for table in (train, test))
    return train_bins.astype(np.int64), test_bins.astype(np.int64)


def _iid(settings: IidPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Cuts shuffled rows into equal parts. The first n mod num_partitions clients get one row more."""
    return split_rows(rng.permutation(len(table)), even_sizes(len(table), settings.num_partitions))


def _contiguous(settings: ContiguousPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    return split_rows(np.arange(len(table)), even_sizes(len(table), settings.num_partitions))


def _sorted(settings: SortedPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    return split_rows(by_label(table), even_sizes(len(table), settings.num_partitions))


def _shard(settings: ShardPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Assigns shards of rows sorted by label, after McMahan et al. 2017, section 3.

    Shards differ by at most one row, so that no row is left over.
    """
    clients, each = settings.num_partitions, settings.num_shards_per_partition
    if clients * each > len(table):
        raise DataError(
            f"partition shard: {clients} clients with {each} shards each need {clients * each} rows, but the "
            f"training rows are {len(table)}; lower partition.num_partitions or "
            "partition.num_shards_per_partition"
        )
    sizes = even_sizes(len(table), clients * each)
    # Shards are shuffled as owners, which needs no bookkeeping of the shards already given away.
    client_of_shard = rng.permutation(np.repeat(np.arange(clients, dtype=np.int64), each))
    owner = np.empty(len(table), dtype=np.int64)
    owner[by_label(table)] = np.repeat(client_of_shard, sizes)
    return shares_of(owner, clients)


_BY_CLASS = (DirichletPartition, InnerDirichletSection, PathologicalPartition, DistributionPartition)
"""Partitions that need classes. Those that only sort by the target also accept numbers."""

_RULES: Mapping[type, Callable[[Any, Table, np.random.Generator], ClientRows]] = {
    IidPartition: _iid,
    DirichletPartition: dirichlet,
    ShardPartition: _shard,
    PathologicalPartition: pathological,
    SizePartition: size,
    LinearPartition: skewed,
    SquarePartition: skewed,
    ExponentialPartition: skewed,
    InnerDirichletPartition: inner_dirichlet,
    InnerDirichletParallelPartition: inner_dirichlet_parallel,
    NaturalPartition: natural,
    GroupedNaturalPartition: grouped_natural,
    ContinuousPartition: continuous,
    DistributionPartition: distribution,
    ContiguousPartition: _contiguous,
    SortedPartition: _sorted,
}
