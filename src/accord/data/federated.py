"""Data of a federation: one table of rows, and index arrays with the rows of each client.

Rows are never copied per client. `FederatedData` is what engines and evaluation read.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.core.errors import DataError, StudyError

if TYPE_CHECKING:
    from accord.data.preprocessing import Preprocessing

Rows = NDArray[np.int64]
"""Row numbers into a table."""


@dataclass(frozen=True)
class GroupColumn:
    """A categorical column that is not among the features.

    Attributes:
        codes: shape `[n]`, each in `[0, len(names))`.
        names: what each code means.
    """

    codes: Rows
    names: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows with targets and group columns.

    Attributes:
        x: features, shape `[n, ...]`. They are floating point, uint8 pixels, or int64 tokens for an embedding. Pixels
            are used as `pixel / 255` and take a quarter of the memory.
        y: targets, shape `[n]`, as int64 labels, or finite float32 numbers to predict.
        groups: column name to `GroupColumn`, each of length n.

    Raises:
        DataError: the lengths differ, features are neither finite floating-point numbers nor uint8 nor int64, or
            targets are numbers that are not finite float32.
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
        # Pixels and tokens are whole numbers, which are all finite.
        exact = self.x.dtype in (torch.uint8, torch.int64)
        if not exact and not (self.x.is_floating_point() and bool(self.x.isfinite().all())):
            raise DataError("data: features must be finite floating-point numbers, uint8 pixels, or int64 tokens")
        if self.holds_numbers and not (self.y.dtype == torch.float32 and bool(self.y.isfinite().all())):
            raise DataError("data: targets must be int64 labels, or finite float32 numbers")

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Rows) -> "Table":
        """Returns the table of these rows alone, in this order."""
        index = torch.from_numpy(rows)
        groups = {name: GroupColumn(column.codes[rows], column.names) for name, column in self.groups.items()}
        return Table(self.x[index], self.y[index], groups)

    @property
    def holds_tokens(self) -> bool:
        """Whether features are tokens for an embedding, not numbers."""
        return self.x.dtype == torch.int64

    @property
    def holds_numbers(self) -> bool:
        """Whether targets are numbers, not labels."""
        return self.y.is_floating_point()

    def labels(self) -> Rows:
        """Returns each row's label, shape `[n]`. All are zero, so that no rows differ, where targets are numbers."""
        return np.zeros(len(self), dtype=np.int64) if self.holds_numbers else self.y.numpy()

    @staticmethod
    def features(x: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Converts features to `dtype` on `device`. Tokens keep their type, and pixels are scaled to [0, 1].

        >>> Table.features(torch.tensor([[0, 51, 255]], dtype=torch.uint8), torch.device("cpu"), torch.float32)
        tensor([[0.0000, 0.2000, 1.0000]])
        """
        if x.dtype == torch.uint8:
            # To the device first: bytes are a quarter of the traffic. Dividing in place is safe, since converting uint8
            # copies.
            return x.to(device).to(dtype).div_(255)
        return x.to(device, dtype if x.is_floating_point() else x.dtype)


def named_column(table: Table, name: str, setting: str) -> GroupColumn:
    """Returns the group column of that name, or the labels as a column where the name is `label`.

    Args:
        table: the rows.
        name: of the column.
        setting: the study's setting that names it, for error messages.

    Raises:
        StudyError: there is no such column (the message names the nearest), or it is `label` and targets are numbers.
    """
    if name == "label":
        refuse_numbers(table, f"{setting} label")
        codes = table.y.numpy()
        return GroupColumn(codes, tuple(str(label) for label in range(int(codes.max()) + 1)))
    if name not in table.groups:
        # With the cutoff 0 there is always a nearest name, so that [0] is safe.
        names = [*table.groups, "label"]
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        raise StudyError(
            f"{setting}: the data has no column {name!r}; did you mean {nearest!r}? (columns: {', '.join(names)})"
        )
    return table.groups[name]


def refuse_numbers(table: Table, setting: str, mend: str = "name a group column") -> None:
    """Refuses a setting that needs labels where the data's targets are numbers.

    Args:
        table: the rows.
        setting: what asks for labels, as the study has it.
        mend: what to do instead.

    Raises:
        StudyError: the targets are numbers.
    """
    if table.holds_numbers:
        raise StudyError(f"{setting} goes by classes, but the data's target is a number; {mend}")


@dataclass(frozen=True)
class Drawn:
    """Counts of the rows selected from a data set, so that groups have the shares a study asks for.

    Attributes:
        column: the group column.
        train: rows selected of each group, by label, or one number where targets are numbers.
        test: the same for the test rows.
        train_rows: training rows before the selection.
        test_rows: test rows before the selection.
    """

    column: str
    train: Mapping[str, tuple[int, ...]]
    test: Mapping[str, tuple[int, ...]]
    train_rows: int
    test_rows: int


@dataclass(frozen=True)
class DataSet:
    """A named data set, before it is partitioned.

    Attributes:
        name: as in the study file.
        train: rows to assign to clients.
        test: rows for testing, on which no client trains.
        class_names: what each label means. The length is the number of classes, or 0 where targets are numbers.
        about: one sentence for the report on what the data is, where it came from, and its licence.
        derived: what else of this value was read off the training rows, which is refused under privacy.
        drawn: which rows the study's `imbalance` selected, or None where it kept all.
        positive: the class that the publisher's question asks for, such as an income of more than 50,000 dollars. None
            where none is documented.
        preprocessing: how the columns of a table became features. It is stored with the model so that later rows can be
            predicted. None where rows were features from the start.
        left_out: rows of a table that have missing values and were left out, training and test rows together.
        missing: column of a table to its missing values, in rows that were left out, too. Empty where none may be.
    """

    name: str
    train: Table
    test: Table
    class_names: tuple[str, ...]
    about: str
    derived: tuple[str, ...] = ()
    drawn: Drawn | None = None
    positive: str | None = None
    preprocessing: "Preprocessing | None" = None
    left_out: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part, table in (("training", self.train), ("test", self.test)):
            if len(table) == 0:
                raise DataError(f"data {self.name}: no {part} rows")
            if table.holds_numbers != self.regression:
                raise DataError(f"data {self.name}: training and test targets must both be labels or both numbers")
            if self.regression:
                if self.class_names:
                    raise DataError(f"data {self.name}: targets are numbers, which have no class names; leave them out")
                continue
            # Checked once here, since a label out of range fails on a device only as an assertion without a row.
            low, high = int(table.y.min()), int(table.y.max())
            if low < 0 or high >= len(self.class_names):
                raise DataError(
                    f"data {self.name}: {part} labels run from {low} to {high}, "
                    f"but there are {len(self.class_names)} classes"
                )

    @property
    def regression(self) -> bool:
        """Whether a number is predicted, not a class."""
        return self.train.holds_numbers

    def tokens(self) -> int | None:
        """Returns the vocabulary size, one more than the largest token. None where features are numbers."""
        if not self.train.holds_tokens:
            return None
        # Test rows count too: a token beyond the embedding's table would fail at the first evaluation.
        return 1 + max(int(part.x.max()) for part in (self.train, self.test))


@dataclass(frozen=True)
class ClientRows:
    """Disjoint rows of each client, stored flat so that a million clients cost two arrays.

    Attributes:
        order: the row numbers of all clients, one client after the other.
        offsets: shape `[clients + 1]`. Client c has the rows `order[offsets[c]:offsets[c + 1]]`.
        names: what each client is called, where the partition names clients, else empty.
    """

    order: Rows
    offsets: Rows
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self, client: int) -> Rows:
        """Returns the rows of one client."""
        # A slice is a view, so no rows are copied.
        return self.order[self.offsets[client] : self.offsets[client + 1]]

    def size(self, client: int) -> int:
        """Returns the number of rows of one client."""
        return int(self.offsets[client + 1] - self.offsets[client])

    def sizes(self) -> Rows:
        """Returns the number of rows of each client, shape `[clients]`."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class FederatedData:
    """A data set assigned to clients.

    Attributes:
        data: the rows.
        train: the training rows of each client.
        test: each client's share of the test rows, chosen to look like its training rows. It may be empty for some
            clients. Only evaluation reads it.
        validation: rows taken out of the data's test rows to decide when to stop. No client has them. None where no
            rows were taken.
    """

    data: DataSet
    train: ClientRows
    test: ClientRows
    validation: Table | None = None
