"""Computes the features, labels and groups of a table's rows, and describes how: `Preprocessing`.

What the study does not state is read off the rows, and is added to `derived`.
"""

import math
from collections.abc import Sequence
from datetime import date
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from accord.config.data import CsvData
from accord.core.errors import DataError
from accord.data.class_names import spellings
from accord.data.date_columns import DateColumn, ordinals
from accord.data.feature_columns import CategoryColumn, Column, NumberColumn
from accord.data.federated import GroupColumn, Rows
from accord.data.missing import MISSING_TEXTS
from accord.data.preprocessing import Preprocessing, TableInput
from accord.data.sources.table_file import Coded, Frame, Numbers, recoded
from accord.data.sources.table_layout import Layout, nearest_column

MOST_VALUES = 1000
"""The most values of a column that are read off the rows. A column with more is a number or a name."""
MISSING = "missing"
"""The name of missing values where they are a category of their own."""


def table_features(
    settings: CsvData, layout: Layout, frame: Frame, train: Rows, test: Rows, derived: list[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Computes the features of the training and of the test rows, float32."""
    rows = np.concatenate([train, test])
    coded = {name: coded_values(settings, name, frame, rows, derived) for name in layout.categories}
    dates = [
        _date_column(settings, name, frame, train, derived).features_of(frame, rows).astype(np.float32)
        for name in layout.dates
    ]
    width = len(layout.numbers) + sum(part.shape[1] for part in dates) + sum(len(c.names) for c in coded.values())
    x = np.zeros((len(rows), width), dtype=np.float32)
    for at, name in enumerate(layout.numbers):
        x[:, at] = _scaled(settings, name, frame, rows, train, derived)
    at, every = len(layout.numbers), np.arange(len(rows))
    for part in dates:
        x[:, at : at + part.shape[1]] = part
        at += part.shape[1]
    for column in coded.values():
        x[every, at + column.codes[rows]] = 1
        at += len(column.names)
    return x[: len(train)], x[len(train) :]


def _date_column(settings: CsvData, name: str, frame: Frame, train: Rows, derived: list[str]) -> DateColumn:
    """Describes a column of dates, with its years as stated or else those of the training rows."""
    rule, stated, fill = settings.dates[name], settings.ranges.get(name), settings.fill.get(name)
    missing = None if fill is None else str(fill)
    if rule == "cyclic":
        return DateColumn(name, rule, missing=missing)
    if stated is not None:
        return DateColumn(
            name, rule, (int(stated[0]), int(stated[1])), "clamp" if settings.clamp else "refuse", missing
        )
    derived.append(f"the years of {name}")
    column = frame.texts[name]
    days = ordinals(Coded(column.codes[train], column.values), lambda at: frame.locate(int(train[at])), name)
    years = date.fromordinal(int(days.min())).year, date.fromordinal(int(days.max())).year
    return DateColumn(name, rule, years, "extend", missing)


def _scaled(settings: CsvData, name: str, frame: Frame, rows: Rows, train: Rows, derived: list[str]) -> Numbers:
    """Maps a column of numbers from its range to [0, 1]."""
    values, logarithmic = frame.numbers[name], name in settings.logarithmic
    stated = settings.ranges.get(name)
    low, high = stated or (float(values[train].min()), float(values[train].max()))
    if stated is None:
        derived.append(f"the range of {name}")
    elif settings.clamp:
        values = np.clip(values, low, high)
    else:
        strange = rows[(values[rows] < low) | (values[rows] > high)]
        if len(strange):
            row = int(strange.min())
            raise DataError(
                f"{frame.locate(row)}: {name} {values[row]:g} is outside of its range {low:g} to {high:g}; mend it, or "
                f"widen data.ranges.{name}, or set data.clamp"
            )
    if logarithmic:
        negative = rows[values[rows] < 0]
        if len(negative):
            row = int(negative.min())
            raise DataError(f"{frame.locate(row)}: {name} {values[row]:g} is below 0, so it has no log(1 + value)")
        low, high, values = np.log1p(low), np.log1p(high), np.log1p(values)
    # A column with one value has an empty range: it becomes 0, not NaN.
    return (values[rows] - low) / ((high - low) or 1.0)


def table_preprocessing(
    settings: CsvData,
    layout: Layout,
    there: Sequence[str],
    frame: Frame,
    train: Rows,
    test: Rows,
    classes: tuple[str, ...],
) -> Preprocessing:
    """Describes how this table's columns become features, for rows that come after the training."""
    columns: list[Column] = []
    for name in layout.numbers:
        values, stated, fill = frame.numbers[name][train], settings.ranges.get(name), settings.fill.get(name)
        columns.append(
            NumberColumn(
                name,
                (stated[0], stated[1]) if stated else (float(values.min()), float(values.max())),
                logarithmic=name in settings.logarithmic,
                # A range read off the training rows is no bound on others; the test rows may lie outside of it, too.
                outside=("clamp" if settings.clamp else "refuse") if stated else "extend",
                missing=None if fill is None else float(fill),
            )
        )
    rows = np.concatenate([train, test])
    columns += [_date_column(settings, name, frame, train, []) for name in layout.dates]
    for name in layout.categories:
        fill = settings.fill.get(name)
        known = coded_values(settings, name, frame, rows, []).names
        missing = MISSING if settings.missing == "category" else None
        columns.append(CategoryColumn(name, known, missing if fill is None else str(fill)))
    used = {column.name for column in columns}
    table = TableInput(
        tuple(columns),
        tuple(name for name in there if name not in used),
        tuple(sorted(MISSING_TEXTS.union(settings.missing_values))),
        settings.delimiter,
        settings.columns,
        drops=settings.missing == "drop",
    )
    bounds = settings.target_range
    return Preprocessing(table, classes, settings.target, (bounds[0], bounds[1]) if bounds else None)


def coded_values(
    settings: CsvData, name: str, frame: Frame, rows: Rows, derived: list[str], key: str = "features"
) -> GroupColumn:
    """Codes a column of texts by the values that the study names, or else by those that occur, sorted."""
    column, stated = frame.texts[name], settings.categories.get(name)
    occurring = _occurring(column, rows)
    one = spellings((column.values[code] for code in occurring.tolist()), stated)
    if any(value != spelling for value, spelling in one.items()):
        column = recoded(column, [one.get(value, value) for value in column.values])
        occurring = _occurring(column, rows)
    if stated is None:
        if len(occurring) > MOST_VALUES:
            other = "set data.target_kind to number" if key == "target" else f"leave it out of data.{key}"
            raise DataError(
                f"{settings.path}: {name} has {len(occurring):,} values, more than {MOST_VALUES:,}; name them in "
                f"data.categories, or {other}"
            )
        names = tuple(sorted((column.values[code] for code in occurring), key=_by_number_then_text))
        derived.append(f"the values of {name}")
    else:
        names = stated
    known = {value: code for code, value in enumerate(names)}
    for code in occurring.tolist():
        if column.values[code] not in known:
            row = int(rows[column.codes[rows] == code].min())
            raise DataError(
                f"{frame.locate(row)}: {name} {column.values[code]!r} is none of data.categories.{name}"
                f"{nearest_column(column.values[code], names)}"
            )
    if settings.missing == "category" and name != settings.target:
        known.setdefault(MISSING, len(names))
        names = tuple(known)
    # The last entry is what code -1 finds.
    code_of = np.array([known.get(value, -1) for value in column.values] + [known.get(MISSING, -1)], dtype=np.int64)
    return GroupColumn(code_of[column.codes], names)


def _occurring(column: Coded, rows: Rows) -> Rows:
    """Returns the codes of the values that the rows have."""
    occurring = np.unique(column.codes[rows])
    return occurring[occurring >= 0]


def _by_number_then_text(value: str) -> tuple[float, str]:
    try:
        number = float(value)
    except ValueError:
        number = math.inf
    return (number if math.isfinite(number) else math.inf), value


def group_of(
    settings: CsvData, layout: Layout, name: str, frame: Frame, valid: Rows, derived: list[str]
) -> GroupColumn:
    """Returns a sensitive group of all rows, from its texts or cut from its numbers."""
    if name not in layout.bins:
        return coded_values(settings, name, frame, valid, derived, "groups")
    edges, values = settings.bins[name], frame.numbers[name]
    between = [f"[{low:g}, {high:g})" for low, high in pairwise(edges)]
    names = (f"<{edges[0]:g}", *between, f">={edges[-1]:g}")
    codes = np.digitize(values, edges).astype(np.int64)
    if settings.missing == "category":
        names = (*names, MISSING)
    return GroupColumn(np.where(np.isnan(values), len(edges) + 1, codes), names)
