"""Reads the rows of each client from `partition.json` in either form, listed in full or summarised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Holders:
    """The clients and their numbers of rows.

    Attributes:
        population: number of clients.
        listed: entries of all clients, or of the first few where there are too many.
        sizes: the distinct numbers of training rows of a client, ascending, shape `[sizes]`.
        clients: number of clients of each size, same shape as `sizes`.
    """

    population: int
    listed: Sequence[Mapping[str, Any]]
    sizes: NDArray[np.int64]
    clients: NDArray[np.int64]

    @property
    def complete(self) -> bool:
        """Whether every client is listed."""
        return len(self.listed) == self.population

    @property
    def rows(self) -> int:
        """Training rows of all clients together."""
        return int((self.sizes * self.clients).sum())

    @property
    def fewest(self) -> int:
        """Rows of the smallest client, or 0 without clients."""
        return int(self.sizes[0]) if len(self.sizes) else 0

    @property
    def most(self) -> int:
        """Rows of the largest client, or 0 without clients."""
        return int(self.sizes[-1]) if len(self.sizes) else 0

    @property
    def median(self) -> float:
        """Median of the rows of a client, or 0 without clients."""
        if self.population == 0:
            return 0.0
        middle = [(self.population - 1) // 2, self.population // 2]
        # The median is read from the cumulative counts, so that a million clients need no million entries.
        indices = np.searchsorted(np.cumsum(self.clients), middle, side="right")
        return float(self.sizes[indices].mean())


def holders(partition: Mapping[str, Any]) -> Holders:
    """Reads what `accord.data.partition_summary` wrote.

    >>> holders({"clients": [{"rows": 5}, {"rows": 3}, {"rows": 5}, {"rows": 4}]}).median
    4.5
    >>> few = {"population": 4, "rows": {"3": 1, "4": 1, "5": 2}, "first_clients": []}
    >>> holders(few).median, holders(few).rows
    (4.5, 17)
    """
    if "clients" in partition:
        members = partition["clients"]
        sizes, clients = np.unique([int(client["rows"]) for client in members], return_counts=True)
        return Holders(len(members), members, sizes.astype(np.int64), clients)
    tally = sorted((int(size), clients) for size, clients in partition["rows"].items())
    sizes, clients = np.array(tally, dtype=np.int64).reshape(-1, 2).T
    return Holders(partition["population"], partition["first_clients"], sizes, clients)
