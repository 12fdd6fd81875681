"""Partitions by quantity: clients of different sizes, with shuffled rows. Sizes are those of flwr-datasets."""

from collections.abc import Callable, Mapping, Sequence
from math import exp, isqrt

import numpy as np
from numpy.typing import NDArray

from accord.config.partition import ExponentialPartition, LinearPartition, SizePartition, SquarePartition
from accord.core.errors import DataError
from accord.data.federated import ClientRows, Rows, Table
from accord.data.splits import even_sizes, split_rows

_WEIGHTS: Mapping[str, Callable[[int, int], float]] = {
    "linear": lambda k, clients: k,
    "square": lambda k, clients: k * k,
    "exponential": lambda k, clients: exp(k - clients),  # the same proportions as e^k, which overflows
}


def size(settings: SizePartition, table: Table, rng: np.random.Generator) -> ClientRows:
    """Cuts shuffled rows into parts of the given sizes."""
    return split_rows(rng.permutation(len(table)), given_sizes(settings.partition_sizes, len(table)))


def skewed(
    settings: LinearPartition | SquarePartition | ExponentialPartition, table: Table, rng: np.random.Generator
) -> ClientRows:
    """Cuts shuffled rows into parts that grow with the client's number."""
    order = rng.permutation(len(table))
    name, clients = settings.name, settings.num_partitions
    return split_rows(order, quantity_sizes(name, name, clients, settings.min_partition_size, len(table)))


def given_sizes(partition_sizes: Sequence[int], n: int) -> Rows:
    """Checks and returns the sizes that a study lists for n rows.

    Raises:
        DataError: they do not add up to n.
    """
    sizes = np.array(partition_sizes, dtype=np.int64)
    if sizes.sum() != n:
        raise DataError(
            f"partition.partition_sizes: the {len(sizes)} sizes add up to {sizes.sum()}, but the training "
            f"rows are {n}; make them add up"
        )
    return sizes


def quantity_sizes(
    name: str, quantity: str, clients: int, least: int, n: int, weights: NDArray[np.float64] | None = None
) -> Rows:
    """Returns the number of rows of each client, shape `[clients]`, with sum n and none 0.

    Every client is given `least` rows. Of the m others, client k of K, counted from 1, gets

    - with `weights` drawn at random: m·w(k) / (w(1) + … + w(K)), cut at rounded running sums
    - `linear`, `square`, `exponential`: as much with w(k) = k, k² or e^k, rounded down. The last client also gets what
      is left over, as in flwr-datasets.
    - `even`: m / K, the remainder to the first ones.

    Args:
        name: of the partition, for error messages.
        quantity: which of the above.
        clients: K, how many there are.
        least: rows that each client is given first.
        n: the training rows.
        weights: of a random quantity, shape `[clients]`, with a sum above 0.

    Raises:
        DataError: there are too few rows, or a client would have none.
    """
    spare = n - clients * least
    if spare < 0:
        raise DataError(
            f"partition {name}: {clients} clients cannot hold {least} rows each of {n} training rows; "
            "lower partition.num_partitions or partition.min_partition_size"
        )
    sizes: Rows
    if weights is not None:
        # Rounded running sums add up to `spare` exactly, which rounded sizes would not.
        boundaries = np.rint(np.cumsum(weights / weights.sum()) * spare).astype(np.int64)[:-1]
        sizes = least + np.diff(boundaries, prepend=0, append=spare)
    elif quantity == "even":
        sizes = least + even_sizes(spare, clients)
    else:
        sizes = least + _by_number(quantity, clients, spare)
    if sizes.min() < 1:
        raise DataError(_no_rows(name, quantity, sizes, n))
    return sizes


def _by_number(quantity: str, clients: int, rows: int) -> Rows:
    """Returns sizes that follow from the client's number, in exact integers where the weights are integers."""
    # Python integers for k and k²: floats would round the sums of many clients.
    weights = [_WEIGHTS[quantity](k, clients) for k in range(1, clients + 1)]
    total = sum(weights)
    sizes = np.array([int(rows * weight // total) for weight in weights], dtype=np.int64)
    sizes[-1] += rows - sizes.sum()
    return sizes


def _no_rows(name: str, quantity: str, sizes: Rows, n: int) -> str:
    """Returns the error message for a client without rows, with what to change."""
    clients, empty = len(sizes), np.flatnonzero(sizes < 1)
    mends = []
    if quantity in _WEIGHTS or clients > n:
        mends.append(f"set partition.num_partitions to at most {_most_clients(quantity, n)}")
    if clients <= n:
        mends.append("set partition.min_partition_size to 1 or more")
    return (
        f"partition {name}: client {empty[0]} of {clients} would hold no rows ({n} training rows, "
        f"{len(empty)} clients empty); {', or '.join(mends)}"
    )


def _most_clients(quantity: str, n: int) -> int:
    """Finds the most clients for which the first, smallest one still gets one of n rows."""
    if quantity not in _WEIGHTS:
        return n
    low, high = 1, isqrt(2 * n) + 2  # 1 + 2 + ... + K <= n bounds K for the gentlest of these
    # Bisection: the first client's rows only become fewer as clients become more.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _by_number(quantity, middle, n)[0] >= 1 else (low, middle)
    return low
