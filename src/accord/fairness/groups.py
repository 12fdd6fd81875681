"""Sensitive groups, and the counts by group from which every measure is computed.

Counts are additive. The counts over two sites' rows together are the sum of the sites' counts, so sites send counts,
never rows.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import DataError

Integers = NDArray[np.int64]

ALWAYS = ("n", "correct")
CONFUSION = ("tp", "fp", "tn", "fn")
_MOST_ROWS = 2**53  # integers up to here are exact in every JSON reader, and their sums fit int64


def _check_names(column: str, names: tuple[str, ...]) -> None:
    if not names:
        raise DataError(f"fairness: group column {column!r} names no groups; give at least one")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"fairness: group column {column!r} names {twice!r} twice; rename one")


def _is_list_of(value: object, kind: type) -> bool:
    # Not isinstance: True is an int.
    return isinstance(value, list) and all(type(item) is kind for item in value)


@dataclass(frozen=True, eq=False)
class Grouping:
    """The group that each row belongs to.

    Attributes:
        column: the column's name, such as `sex*race` for an intersection.
        names: the name of each code, all different.
        codes: shape `[n]`, int64, each in `[0, len(names))`.

    Raises:
        DataError: there are no names, a name occurs twice, codes are not a vector of int64, or a code has no name.
    """

    column: str
    names: tuple[str, ...]
    codes: Integers

    def __post_init__(self) -> None:
        _check_names(self.column, self.names)
        if self.codes.ndim != 1 or self.codes.dtype != np.int64:
            raise DataError(f"fairness: codes of group column {self.column!r} must be a vector of int64")
        # An empty vector has no minimum.
        if self.codes.size and not (self.codes.min() >= 0 and self.codes.max() < len(self.names)):
            raise DataError(
                f"fairness: codes of group column {self.column!r} run from {self.codes.min()} to "
                f"{self.codes.max()}, but it has {len(self.names)} names"
            )


def intersect(first: Grouping, second: Grouping, *others: Grouping) -> Grouping:
    """Builds the groups that share a name in every given column.

    Returns:
        One group for each combination of names, in the order of `itertools.product`, including combinations without a
        row.

    Raises:
        DataError: the columns differ in length, or two combinations have the same name.

    >>> sex = Grouping("sex", ("Female", "Male"), np.array([0, 1, 1]))
    >>> race = Grouping("race", ("Black", "White"), np.array([0, 0, 1]))
    >>> both = intersect(sex, race)
    >>> both.column, both.names
    ('sex*race', ('Female, Black', 'Female, White', 'Male, Black', 'Male, White'))
    >>> both.codes.tolist()
    [0, 2, 3]
    """
    parts = (first, second, *others)
    lengths = {part.column: len(part.codes) for part in parts}
    if len(set(lengths.values())) > 1:
        raise DataError(f"fairness: columns to intersect differ in length: {lengths}")
    return Grouping(
        column="*".join(part.column for part in parts),
        names=tuple(", ".join(names) for names in itertools.product(*(part.names for part in parts))),
        # The same order as the product of names: the last column's code varies fastest.
        codes=np.ravel_multi_index(
            tuple(part.codes for part in parts), tuple(len(part.names) for part in parts)
        ).astype(np.int64),
    )


@dataclass(frozen=True, eq=False)
class GroupCounts:
    """Rows and outcomes of one column's groups. Every array is int64 of shape `[groups]`.

    Attributes:
        column: the column's name.
        names: the groups, all different.
        n: rows.
        correct: rows whose prediction is the label.
        positive: the label that counts as positive, or None where there is none.
        tp: rows labelled positive and predicted positive. This and the next three are None exactly where `positive` is.
        fp: rows not labelled positive, but predicted positive.
        tn: rows neither labelled nor predicted positive. With more than two classes they are not always correct.
        fn: rows labelled positive, but not predicted positive.

    Raises:
        DataError: a shape or dtype is wrong, or no rows could give such counts.
    """

    column: str
    names: tuple[str, ...]
    n: Integers
    correct: Integers
    positive: int | None = None
    tp: Integers | None = None
    fp: Integers | None = None
    tn: Integers | None = None
    fn: Integers | None = None

    def __post_init__(self) -> None:
        _check_names(self.column, self.names)
        where = f"fairness: counts of group column {self.column!r}"
        arrays = self.arrays()
        if set(arrays) != {*ALWAYS, *(CONFUSION if self.positive is not None else ())}:
            raise DataError(f"{where} need tp, fp, tn and fn with a positive label, and none of them without")
        for name, values in arrays.items():
            if values.shape != (len(self.names),) or values.dtype != np.int64 or bool((values < 0).any()):
                raise DataError(f"{where}: {name} must hold one int64 >= 0 for each of {len(self.names)} groups")
        if bool((self.correct > self.n).any()):
            raise DataError(f"{where}: more correct rows than rows")
        if self.positive is not None:
            tp, fp, tn, fn = (arrays[name] for name in CONFUSION)
            if bool((tp + fp + tn + fn != self.n).any()):
                raise DataError(f"{where}: tp + fp + tn + fn must be n in every group")
            # Every tp is correct and no fp or fn is. With more than two classes only some tn are.
            if bool((self.correct < tp).any() or (self.correct > tp + tn).any()):
                raise DataError(f"{where}: correct must lie between tp and tp + tn in every group")

    def arrays(self) -> dict[str, Integers]:
        """Returns the present arrays by name: `n`, `correct`, and with a positive label the four others."""
        arrays = {name: getattr(self, name) for name in (*ALWAYS, *CONFUSION)}
        return {name: values for name, values in arrays.items() if values is not None}

    def __add__(self, other: "GroupCounts") -> "GroupCounts":
        """Adds the counts of two sets of rows.

        Raises:
            DataError: column, groups or positive label differ.
        """
        for what in ("column", "names", "positive"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                raise DataError(f"fairness: counts cannot be added, {what} differs: {mine!r} and {theirs!r}")
        theirs = other.arrays()
        sums = {name: values + theirs[name] for name, values in self.arrays().items()}
        return GroupCounts(self.column, self.names, positive=self.positive, **sums)

    def to_json(self) -> dict[str, Any]:
        """Returns the counts as JSON-ready values."""
        # The same keys with and without a positive label, with None where there is no array.
        absent: dict[str, Any] = dict.fromkeys(CONFUSION)
        arrays = {name: values.tolist() for name, values in self.arrays().items()}
        head = {"column": self.column, "names": list(self.names), "positive": self.positive}
        return head | absent | arrays

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "GroupCounts":
        """Inverts `to_json`.

        Raises:
            DataError: a key is missing, or the values are not counts.
        """
        missing = [key for key in ("column", "names", "positive", *ALWAYS, *CONFUSION) if key not in value]
        if missing:
            raise DataError(f"fairness: counts lack {', '.join(missing)}; they must be what to_json gave")
        column, names, positive = value["column"], value["names"], value["positive"]
        if not (isinstance(column, str) and _is_list_of(names, str)):
            raise DataError("fairness: counts: column must be a string and names a list of strings")
        if positive is not None and type(positive) is not int:
            raise DataError(f"fairness: counts: positive must be a label or null, got {positive!r}")
        arrays: dict[str, Integers] = {}
        for name in (*ALWAYS, *CONFUSION):
            numbers = value[name]
            if numbers is None and name in CONFUSION:
                continue
            if not (_is_list_of(numbers, int) and all(0 <= number < _MOST_ROWS for number in numbers)):
                raise DataError(f"fairness: counts: {name} must be a list of whole numbers from 0 to 2^53")
            arrays[name] = np.array(numbers, dtype=np.int64)
        return GroupCounts(column, tuple(names), positive=positive, **arrays)


def count(grouping: Grouping, labels: Integers, predictions: Integers, positive: int | None) -> GroupCounts:
    """Counts rows and outcomes by group.

    Args:
        grouping: the group of each row.
        labels: shape `[n]`, integers.
        predictions: predicted labels, shape `[n]`, integers.
        positive: the label that counts as positive (selected where predicted). All other labels together are negative.
            None counts only rows and correct predictions.

    Raises:
        DataError: the lengths differ.

    >>> sex = Grouping("sex", ("Female", "Male"), np.array([0, 0, 1]))
    >>> counts = count(sex, np.array([1, 0, 1]), np.array([1, 1, 0]), positive=1)
    >>> counts.n.tolist(), counts.correct.tolist(), counts.fp.tolist(), counts.fn.tolist()
    ([2, 1], [1, 0], [1, 0], [0, 1])
    """
    if not labels.shape == predictions.shape == grouping.codes.shape:
        raise DataError(
            f"fairness: {len(grouping.codes)} rows in group column {grouping.column!r}, "
            f"{len(labels)} labels and {len(predictions)} predictions; they must be as many"
        )

    def of(rows: NDArray[np.bool_]) -> Integers:
        return np.bincount(grouping.codes[rows], minlength=len(grouping.names)).astype(np.int64)

    confusion: dict[str, Integers] = {}
    if positive is not None:
        condition, selected = labels == positive, predictions == positive
        confusion = {
            "tp": of(condition & selected),
            "fp": of(~condition & selected),
            "tn": of(~condition & ~selected),
            "fn": of(condition & ~selected),
        }
    return GroupCounts(
        grouping.column,
        grouping.names,
        n=of(np.ones(labels.shape, dtype=np.bool_)),
        correct=of(labels == predictions),
        positive=positive,
        **confusion,
    )
