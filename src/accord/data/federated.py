"""Data as clients hold it: one table of rows, and index arrays that say which client holds which rows.

Rows are never copied per client. `FederatedData` is what engines and evaluation read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.errors import DataError

Rows = NDArray[np.int64]
"""Row numbers into a table."""


@dataclass(frozen=True)
class GroupColumn:
    """A categorical column kept aside from the features.

    Attributes:
        codes: shape `[n]`, each in `[0, len(names))`.
        names: what each code means.
    """

    codes: Rows
    names: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows with labels and group columns.

    Attributes:
        x: features, shape `[n, ...]`, floating point, or int64 tokens for an embedding.
        y: labels, shape `[n]`, int64.
        groups: column name to `GroupColumn`, each of length n.

    Raises:
        DataError: the lengths differ, or features are neither finite floating-point numbers nor int64.
    """

    x: Tensor
    y: Tensor
    groups: Mapping[str, GroupColumn] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise DataError(f"data: {len(self.x)} rows of features but {len(self.y)} labels")
        for name, column in self.groups.items():
            if len(column.codes) != len(self.y):
                raise DataError(f"data: group column {name!r} has {len(column.codes)} rows, labels {len(self.y)}")
        if self.x.dtype != torch.int64 and not (self.x.is_floating_point() and bool(self.x.isfinite().all())):
            raise DataError("data: features must be finite floating-point numbers, or int64 tokens")

    def __len__(self) -> int:
        return len(self.y)

    @staticmethod
    def features(x: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Rows of features where they are worked on: in `dtype`, but tokens as they are."""
        return x.to(device, dtype if x.is_floating_point() else x.dtype)


@dataclass(frozen=True)
class DataSet:
    """A named data set, before it is dealt to clients.

    Attributes:
        name: as in the study file.
        train: rows to deal out.
        test: rows kept for testing; no client trains on them.
        class_names: what each label means; its length is the number of classes.
        about: one sentence for the report: what it is, where it came from, licence.
        derived: what else of this value was read off the training rows; refused under privacy.
    """

    name: str
    train: Table
    test: Table
    class_names: tuple[str, ...]
    about: str
    derived: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part, table in (("training", self.train), ("test", self.test)):
            if len(table) == 0:
                raise DataError(f"data {self.name}: no {part} rows")
            low, high = int(table.y.min()), int(table.y.max())
            if low < 0 or high >= len(self.class_names):
                raise DataError(
                    f"data {self.name}: {part} labels run from {low} to {high}, "
                    f"but there are {len(self.class_names)} classes"
                )


@dataclass(frozen=True)
class Shares:
    """Which client holds which rows: disjoint, stored flat so that a million clients cost two arrays.

    Attributes:
        order: all row numbers held, client after client.
        offsets: shape `[clients + 1]`; client c holds `order[offsets[c]:offsets[c + 1]]`.
        names: what each client is called, where the partition gives it a name; else empty.
    """

    order: Rows
    offsets: Rows
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self, client: int) -> Rows:
        """The rows of one client."""
        return self.order[self.offsets[client] : self.offsets[client + 1]]

    def size(self, client: int) -> int:
        """Rows held by one client."""
        return int(self.offsets[client + 1] - self.offsets[client])

    def sizes(self) -> Rows:
        """Rows held by each client, shape `[clients]`."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class FederatedData:
    """A data set dealt to clients.

    Attributes:
        data: the rows.
        train: which client trains on which training rows.
        test: each client's share of the test rows, dealt to look like what it trains on; may be empty for
            some clients. Only evaluation reads it.
    """

    data: DataSet
    train: Shares
    test: Shares
