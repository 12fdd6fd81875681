"""Who holds what as the report reads it: `partition.json` in either form, listed in full or summed up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Holders:
    """The clients and what they hold.

    Attributes:
        population: how many clients there are.
        listed: entries of all of them, or of the first few where there are too many.
        sizes: every number of training rows that some client holds, ascending.
        clients: how many clients hold so many, shape of `sizes`.
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
        """Training rows of all clients."""
        return int((self.sizes * self.clients).sum())

    @property
    def fewest(self) -> int:
        """Rows of the client that holds least; 0 without clients."""
        return int(self.sizes[0]) if len(self.sizes) else 0

    @property
    def most(self) -> int:
        """Rows of the client that holds most; 0 without clients."""
        return int(self.sizes[-1]) if len(self.sizes) else 0

    @property
    def median(self) -> float:
        """Rows of the client in the middle, or the mean of the two there; 0 without clients."""
        if self.population == 0:
            return 0.0
        middle = [(self.population - 1) // 2, self.population // 2]
        places = np.searchsorted(np.cumsum(self.clients), middle, side="right")
        return float(self.sizes[places].mean())


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
