"""Draws rows so that a sensitive group has the share a study asks for, and a test set that no share changes.

All draws are without replacement. A group's rows (with `balance_labels`, its rows of each label) are shuffled in an
order that does not depend on the shares, and the first so many are kept. The rows that a smaller share keeps of a group
are therefore kept by a larger one too. Draws of training rows come from `stream(seed, "imbalance")`, those of test rows
from `stream(test_seed, "imbalance test")`. The rows kept stay in the order of the file.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

import numpy as np

from accord.config.imbalance import Imbalance
from accord.core.errors import DataError, StudyError
from accord.core.streams import stream
from accord.data.federated import DataSet, Drawn, Rows, Table, named_column, refuse_numbers
from accord.data.splits import even_sizes


@dataclass(frozen=True)
class _Group:
    """A group's rows in the order in which they are drawn.

    They are in one cell, or in one cell per label. Of a draw all cells get equally many rows, and the first cells one
    more where the number does not divide.
    """

    name: str
    cells: tuple[Rows, ...]
    labelled: bool

    @property
    def most(self) -> int:
        """Returns how many rows can be drawn. Cell i of c runs short from c * len(cell) + i + 1 rows on."""
        return min(len(cell) * len(self.cells) + i for i, cell in enumerate(self.cells))

    def first(self, rows: int) -> Rows:
        """Draws so many rows."""
        sizes = even_sizes(rows, len(self.cells))
        return np.concatenate([cell[:size] for cell, size in zip(self.cells, sizes, strict=True)])

    def short(self, rows: int, column: str) -> tuple[int, int, str]:
        """Returns the rows needed, the rows there are, and the name, of the cell that so many rows overdraw most."""
        sizes = even_sizes(rows, len(self.cells))
        label = int(np.argmax(sizes - [len(cell) for cell in self.cells]))
        what = f"{column}={self.name}" + (f" with label {label}" if self.labelled else "")
        return int(sizes[label]), len(self.cells[label]), what


def imbalanced(data: DataSet, settings: Imbalance, seed: int) -> DataSet:
    """Selects the rows that the study's `imbalance` section keeps.

    Args:
        data: all rows.
        settings: the section.
        seed: the study's seed. The test rows kept do not depend on it.

    Returns:
        The same data set with fewer rows, and in `drawn` what was kept.

    Raises:
        DataError: a group has too few rows. The message says how many there are and what would work.
        StudyError: the data has no such column or value, or labels are to be balanced and targets are numbers.
    """
    if settings.balance_labels:
        refuse_numbers(data.train, "imbalance.balance_labels", "set it to false")
    weights = _weights(settings, data.train)
    # The test rows first: they follow from column, values, labels and test_seed alone.
    test = _groups(data.test, settings, weights, len(data.class_names), stream(settings.test_seed, "imbalance test"))
    test_indices = _draw(test, dict.fromkeys(test, _test_size(settings, test)))
    train = _groups(data.train, settings, weights, len(data.class_names), stream(seed, "imbalance"))
    train_indices = _draw(train, _train_sizes(settings, weights, train))

    def by_label(rows_of: Mapping[str, Rows], table: Table) -> dict[str, tuple[int, ...]]:
        classes = max(1, len(data.class_names))
        labels = table.labels()
        return {name: tuple(np.bincount(labels[rows], minlength=classes).tolist()) for name, rows in rows_of.items()}

    return replace(
        data,
        train=_take(data.train, train_indices),
        test=_take(data.test, test_indices),
        drawn=Drawn(
            settings.group,
            by_label(train_indices, data.train),
            by_label(test_indices, data.test),
            len(data.train),
            len(data.test),
        ),
    )


def shared_out(rows: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Splits `rows` by whole weights with largest remainders, in exact integers. Ties go to those named first.

    >>> shared_out(10, {"A": 7, "B": 2, "C": 1}), shared_out(5, {"A": 1, "B": 1})
    ({'A': 7, 'B': 2, 'C': 1}, {'A': 3, 'B': 2})
    """
    total = sum(weights.values())
    sizes = {name: rows * weight // total for name, weight in weights.items()}
    # `sorted` is stable, so that ties stay in the order named.
    by_remainder = sorted(weights, key=lambda name: -(rows * weights[name] % total))
    for name in by_remainder[: rows - sum(sizes.values())]:
        sizes[name] += 1
    return sizes


def _weights(settings: Imbalance, table: Table) -> dict[str, int]:
    """Returns the groups in the order named, with their shares as whole numbers. Decimals are exact."""
    # From the text of the number: Fraction(0.1) is not a tenth, and shares would not add up to 1.
    shares = {name: Fraction(repr(share)) for name, share in (settings.shares or {}).items()}
    if settings.value is not None:
        share = Fraction(repr(settings.share))
        shares = {settings.value: share, _others(settings.value, table, settings.group): 1 - share}
    common = lcm(*(share.denominator for share in shares.values()))
    return {name: int(share * common) for name, share in shares.items()}


def _others(value: str, table: Table, column: str) -> str:
    """Names all other values together: by the value's own name where there is one."""
    others = [name for name in named_column(table, column, "imbalance.group").names if name != value]
    return others[0] if len(others) == 1 else f"not {value}"


def _groups(
    table: Table, settings: Imbalance, weights: Mapping[str, int], classes: int, rng: np.random.Generator
) -> dict[str, _Group]:
    """Returns the groups in the order of `weights`. The order of their rows does not depend on it."""
    column = named_column(table, settings.group, "imbalance.group")
    named = [settings.value] if settings.value is not None else list(weights)
    for name in named:
        if name not in column.names:
            near = difflib.get_close_matches(name, column.names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            where = "value" if settings.value is not None else "shares"
            raise StudyError(
                f"imbalance.{where}: column {settings.group!r} has no value {name!r}{hint} "
                f"(values: {', '.join(column.names)})"
            )
    labels, found = table.labels(), {}
    # In the order of the names, since every draw moves the stream on: the study's order of groups must not matter.
    for name in sorted(weights):
        if settings.value is not None and name != settings.value:
            member = column.codes != column.names.index(settings.value)
        else:
            member = column.codes == column.names.index(name)
        cells = [member & (labels == label) for label in range(classes)] if settings.balance_labels else [member]
        shuffled = tuple(rng.permutation(np.flatnonzero(cell)) for cell in cells)
        found[name] = _Group(name, shuffled, settings.balance_labels)
    return {name: found[name] for name in weights}


def _test_size(settings: Imbalance, groups: Mapping[str, _Group]) -> int:
    """Returns the test rows of each group. The default is the most that divide evenly over the cells."""
    least = min(groups.values(), key=lambda group: group.most)
    even = least.most // len(least.cells) * len(least.cells)
    wanted = settings.test_rows_per_group or max(even, 1)
    if wanted > least.most:
        needed, there, what = least.short(wanted, settings.group)
        mend = f"the largest that works is {least.most}" if least.most else "no number works"
        raise DataError(
            f"imbalance.test_rows_per_group {wanted} takes {needed} test rows of {what}, but there are {there}; {mend}"
        )
    return wanted


def _train_sizes(settings: Imbalance, weights: Mapping[str, int], groups: Mapping[str, _Group]) -> dict[str, int]:
    """Returns the training rows of each group."""
    most = _most_rows(weights, groups)
    rows = settings.rows or max(most, 1)
    sizes = shared_out(rows, weights)
    for name, group in groups.items():
        # Of one row a group may be rounded to none: where it has none, that is still no share of it.
        if sizes[name] > group.most or (weights[name] and not group.most):
            needed, there, what = group.short(max(sizes[name], 1), settings.group)
            share = weights[name] / sum(weights.values())
            mend = f"the largest imbalance.rows that works is {most}" if most else "no number of rows works"
            raise DataError(
                f"imbalance.rows {rows}: share {share:g} of {settings.group}={name} takes {needed} training rows of "
                f"{what}, but there are {there}; {mend}"
            )
    return sizes


def _most_rows(weights: Mapping[str, int], groups: Mapping[str, _Group]) -> int:
    """Finds the most training rows that keep the shares, or 0 where a group with a share has no rows.

    A group gets at least its share rounded down, which bounds the rows from above. The search then goes down one by
    one, since by largest remainder one row more can take a row from a group (the Alabama paradox).
    """
    total, wanted = sum(weights.values()), [name for name, weight in weights.items() if weight]
    if not all(groups[name].most for name in wanted):
        return 0
    # The largest integer with floor(rows * weight / total) <= most.
    rows = min(((groups[name].most + 1) * total - 1) // weights[name] for name in wanted)
    while any(size > groups[name].most for name, size in shared_out(rows, weights).items()):
        rows -= 1
    return rows


def _draw(groups: Mapping[str, _Group], sizes: Mapping[str, int]) -> dict[str, Rows]:
    return {name: group.first(sizes[name]) for name, group in groups.items()}


def _take(table: Table, rows_of: Mapping[str, Rows]) -> Table:
    # Cells are shuffled, so the rows are sorted back into the order of the file.
    return table.take(np.sort(np.concatenate(list(rows_of.values()))))
