"""Confusion matrices by group, as additive counts."""

from dataclasses import dataclass

import numpy as np

from accord.core.errors import DataError
from accord.fairness.groups import Grouping, Integers

MOST_CLASSES = 20
"""With more labels than this, results have no confusion matrices, whose size is quadratic in labels."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """Rows by label and prediction, for each group of one column.

    Attributes:
        column: the column's name.
        names: the groups.
        matrix: int64 of shape `[groups, classes, classes]`. `matrix[g, i, j]` counts the rows of group g with label i
            that were predicted as j.

    Raises:
        DataError: the shape is wrong.
    """

    column: str
    names: tuple[str, ...]
    matrix: Integers

    def __post_init__(self) -> None:
        shape = self.matrix.shape
        if self.matrix.ndim != 3 or shape[0] != len(self.names) or shape[1] != shape[2]:
            raise DataError(
                f"confusion of group column {self.column!r}: shape {shape} is not {len(self.names)} square matrices"
            )

    def __add__(self, other: "Confusion") -> "Confusion":
        """Adds the counts of two sets of rows.

        Raises:
            DataError: column, groups or labels differ.
        """
        mine, theirs = ((each.column, each.names, each.matrix.shape) for each in (self, other))
        if mine != theirs:
            raise DataError(f"confusion: counts of {mine} and of {theirs} cannot be added")
        return Confusion(self.column, self.names, self.matrix + other.matrix)


def confusion(grouping: Grouping, labels: Integers, predictions: Integers, classes: int) -> Confusion:
    """Counts rows by group, label and prediction.

    Args:
        grouping: the group of each row.
        labels: shape `[n]`, each in `[0, classes)`.
        predictions: shape `[n]`, each in `[0, classes)`.
        classes: the number of labels.

    Raises:
        DataError: the lengths differ.

    >>> sex = Grouping("sex", ("Female", "Male"), np.array([0, 0, 1]))
    >>> confusion(sex, np.array([0, 1, 1]), np.array([0, 0, 1]), 2).matrix.tolist()
    [[[1, 0], [1, 0]], [[0, 0], [0, 1]]]
    """
    if not labels.shape == predictions.shape == grouping.codes.shape:
        raise DataError(
            f"confusion: {len(grouping.codes)} rows in group column {grouping.column!r}, "
            f"{len(labels)} labels and {len(predictions)} predictions; they must be as many"
        )
    shape = (len(grouping.names), classes, classes)
    cell = np.ravel_multi_index((grouping.codes, labels, predictions), shape)
    counts = np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape)
    return Confusion(grouping.column, grouping.names, counts.astype(np.int64))
