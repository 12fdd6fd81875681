"""Partitions by the values of a column: one client for each value, or for each group of values."""

import numpy as np

from accord.config.partition import GroupedNaturalPartition, NaturalPartition
from accord.core.errors import DataError
from accord.data.federated import ClientRows, Rows, Table, named_column
from accord.data.splits import even_sizes, shares_of

_MOST_NAMED = 3


def natural(settings: NaturalPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Makes one client for each value that occurs in the training rows, in the order of the column's values."""
    column = named_column(table, settings.partition_by, "partition.partition_by")
    present, owner = np.unique(column.codes, return_inverse=True)
    return shares_of(owner.astype(np.int64), len(present), tuple(column.names[code] for code in present))


def grouped_natural(settings: GroupedNaturalPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Groups the values that occur in the training rows, one group a client. Semantics of flwr-datasets.

    Raises:
        DataError: there are fewer values than clients, or their number does not divide in mode `strict`.
    """
    column = named_column(table, settings.partition_by, "partition.partition_by")
    present, first, owner = np.unique(column.codes, return_index=True, return_inverse=True)
    # `first` is the row at which each value occurs first.
    order = np.arange(len(present)) if settings.sort_unique_ids else np.argsort(first)
    sizes = _group_sizes(settings, len(present))
    group_of = np.empty(len(present), dtype=np.int64)
    group_of[order] = np.repeat(np.arange(len(sizes)), sizes)
    members = np.split(present[order], np.cumsum(sizes)[:-1])
    names = tuple(_named([column.names[code] for code in group.tolist()]) for group in members)
    return shares_of(group_of[owner], len(sizes), names)


def _group_sizes(settings: GroupedNaturalPartition, values: int) -> Rows:
    """Returns how many values each client has, shape `[clients]`."""
    where = f"partition grouped-natural: {settings.partition_by!r} has {values} values"
    if settings.num_partitions is not None:
        if settings.num_partitions > values:
            raise DataError(f"{where}; set partition.num_partitions to at most {values}")
        return even_sizes(values, settings.num_partitions)
    size = settings.group_size or 1
    groups, rest = divmod(values, size)
    if settings.mode == "allow-smaller":
        return np.array([size] * groups + [rest] * bool(rest), dtype=np.int64)
    if not groups:
        raise DataError(f"{where}; set partition.group_size to at most {values}, or partition.mode to allow-smaller")
    if settings.mode == "strict" and rest:
        raise DataError(
            f"{where}, which groups of {size} leave {rest} of; choose another partition.group_size or partition.mode"
        )
    return even_sizes(values, groups)


def _named(values: list[str]) -> str:
    more = f" and {len(values) - _MOST_NAMED} more" if len(values) > _MOST_NAMED else ""
    return ", ".join(values[:_MOST_NAMED]) + more
