"""A partition by a matrix of shares, one line a class. Semantics of flwr-datasets.

After Li et al. 2020, "Federated Optimization in Heterogeneous Networks", whose power law is one such matrix.
"""

import numpy as np

from accord.config.partition import DistributionPartition
from accord.core.errors import DataError
from accord.data.federated import ClientRows, Rows, Table
from accord.data.splits import shares_of, split_by_class


def distribution(settings: DistributionPartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Gives client p the classes p, p + 1, ... (mod classes), and splits each class over its clients by its line.

    With `rescale`, each client is given `preassigned_rows_per_class` rows of each of its classes. The other rows follow
    the line's proportions, rounded down, and what is left over goes to one of the class's clients at random. Without
    it, the line's numbers are rows.

    Raises:
        DataError: the matrix does not fit classes and clients, or a class has too few rows.
    """
    rows_by_class = split_by_class(table)
    counts = _counts(settings, np.array([len(rows) for rows in rows_by_class]), rng)
    clients, each, classes = settings.num_partitions, settings.num_classes_per_partition, len(rows_by_class)
    # Client p has the classes from p on: numpy.roll(labels, -p)[:each] of flwr-datasets, without its loop.
    classes_of_client = (np.arange(clients)[:, None] + np.arange(each)) % classes
    owner = np.empty(len(table), dtype=np.int64)
    for label, rows in enumerate(rows_by_class):
        clients_of_class = np.flatnonzero((classes_of_client == label).any(axis=1))
        owner[rng.permutation(rows)] = np.repeat(clients_of_class, counts[label])
    return shares_of(owner, clients)


def _counts(settings: DistributionPartition, available: Rows, rng: np.random.Generator) -> Rows:
    """Returns the rows of each class at each of its clients, shape `[classes, clients of a class]`."""
    classes, where = len(available), "partition distribution"
    clients, each, first = (
        settings.num_partitions,
        settings.num_classes_per_partition,
        settings.preassigned_rows_per_class,
    )
    if each > classes:
        raise DataError(f"{where}: set partition.num_classes_per_partition to at most {classes}, the classes there are")
    if clients % classes:
        raise DataError(f"{where}: set partition.num_partitions, {clients}, to a multiple of the {classes} classes")
    width = clients * each // classes
    lengths = {len(line) for line in settings.distribution}
    if len(settings.distribution) != classes or lengths != {width}:
        raise DataError(
            f"{where}: partition.distribution needs {classes} lists, one a class, of {width} numbers each "
            f"({each} x {clients} / {classes}); it has {len(settings.distribution)} of {sorted(lengths)}"
        )
    matrix = np.array(settings.distribution, dtype=np.float64)
    if not settings.rescale:
        counts: Rows = matrix.astype(np.int64)
        wrong = np.flatnonzero((counts != matrix).any(axis=1) | (counts.sum(axis=1) != available))
        if len(wrong):
            label = int(wrong[0])
            raise DataError(
                f"{where}: without rescale the numbers of class {label} are rows and add up to {available[label]}, all "
                f"that it has; they add up to {matrix[label].sum():g}"
            )
        return counts
    total = matrix.sum(axis=1, keepdims=True)
    if (total == 0).any():
        raise DataError(f"{where}: all numbers of class {int(np.argmin(total))} are 0; give it some proportion")
    # As flwr-datasets: beyond what is preassigned there is a row for each client of the class.
    short = np.flatnonzero(available - first * width < width)
    if len(short):
        label = int(short[0])
        raise DataError(
            f"{where}: class {label} has {available[label]} rows, too few for {width} clients that are each given "
            f"{first} first; lower partition.preassigned_rows_per_class"
        )
    counts = first + np.floor(matrix / total * (available - first * width)[:, None]).astype(np.int64)
    for line, rows in zip(counts, available, strict=True):
        line[rng.integers(width)] += rows - line.sum()
    return counts
