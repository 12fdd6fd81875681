"""Tables of labels for tests of who holds which rows."""

import numpy as np
import torch
from numpy.typing import NDArray

from accord.data.federated import ClientRows, GroupColumn, Table


def table(labels: NDArray[np.int64] | list[int], **groups: GroupColumn) -> Table:
    """Rows with these labels."""
    y = torch.tensor(np.asarray(labels), dtype=torch.int64)
    return Table(torch.zeros(len(y), 1), y, groups)


def random_table(n: int, classes: int, seed: int = 0) -> Table:
    """Rows with random labels and a random `site` of four."""
    rng = np.random.default_rng(seed)
    site = GroupColumn(rng.integers(4, size=n), ("north", "east", "south", "west"))
    return table(rng.integers(classes, size=n), site=site)


def is_whole(shares: ClientRows, n: int) -> bool:
    """Disjoint and complete."""
    return sorted(shares.order) == list(range(n)) and int(shares.sizes().sum()) == n
