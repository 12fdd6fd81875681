"""`csv`: any table of a user's own. What the study does not state is read off the rows and listed in `derived`.

Under differential privacy a range, or the values that happen to occur, would itself be a release of the training rows
that nobody accounted for. A private study states them (`ranges`, `categories`).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from accord.config.data import CsvData
from accord.core.errors import DataError, StudyError
from accord.core.streams import stream
from accord.data.class_names import check_test_labels, spellings
from accord.data.date_columns import DateColumn, ordinals
from accord.data.feature_columns import CategoryColumn, Column, NumberColumn
from accord.data.federated import DataSet, GroupColumn, Rows, Table
from accord.data.missing import MISSING_TEXTS
from accord.data.preprocessing import Preprocessing, TableInput
from accord.data.sources.base import YOURS, Facts, Source
from accord.data.sources.table_file import Coded, Frame, Numbers, TableFile, joined, open_table, recoded
from accord.data.sources.table_layout import Layout, layout_of, nearest_column
from accord.data.sources.target import scaled_target

MOST_VALUES = 1000
"""The most values of a column that are read off the rows. A column with more is a number or a name."""
MISSING = "missing"
"""The name of missing values where they are a category of their own."""
_TEST_FRACTION = 0.2
_TOLD = {
    "drop": " Rows with missing values are left out.",
    "category": " Missing values are a category of their own.",
    "value": " Missing values are filled in.",
}


def load_csv(settings: CsvData) -> DataSet:
    """Loads a table from one file or two.

    `x` has shape `[n, features]`, float32. Numbers come first, scaled to [0, 1] by their ranges, then the dates, then
    each category one-hot over its values. Each kind is in the order of `features`, or of the file. `y` counts the
    target's values from 0, in the order of `categories`, or else sorted. With `target_kind: number` it is float32, see
    `scaled_target`. The cut into training and test rows depends on the rows and `test_fraction` only, never on the
    study's seed. Both parts keep the order of the file.

    Raises:
        StudyError: a column is missing, or is asked to be two things that do not go together.
        DataError: a file is missing or damaged, or a value is missing, no number, out of its range or none of the
            values named. The message names file, row and column.
    """
    paths = [Path(each).expanduser() for each in (settings.path, settings.test_path) if each is not None]
    files = [open_table(path, settings.delimiter, settings.columns) for path in paths]
    what = f"Your own table, {' and '.join(path.name for path in paths)}"
    return table_data_set(settings, files, list(map(str, paths)), "csv", what)


def table_data_set(
    settings: CsvData, files: Sequence[TableFile], paths: Sequence[str], name: str, what: str
) -> DataSet:
    """Builds the data set of a table's rows, see `load_csv`.

    Args:
        settings: what its columns are.
        files: one table, or one of training rows and one of test rows.
        paths: what each is called in messages.
        name: of the data set.
        what: what it is, as the start of its description.

    Raises:
        StudyError: as `load_csv`.
        DataError: as `load_csv`.
    """
    layout = layout_of(settings, files[0].names, files[0].index)
    marks = MISSING_TEXTS.union(settings.missing_values)
    numbers, texts = layout.read_as_numbers(), layout.read_as_texts()
    for path, file in zip(paths[1:], files[1:], strict=True):
        if lost := [name for name in (*texts, *numbers) if name not in file.names]:
            raise DataError(f"data.test_path: {path} has no column {lost[0]!r}{nearest_column(lost[0], file.names)}")
    # Both files become one frame, so that a value has one code in training and test rows.
    frames = [file.read(numbers, texts, marks) for file in files]
    frame = frames[0] if len(frames) == 1 else joined(frames[0], frames[1])
    frame, kept = _without_missing(settings, layout, frame, marks)
    train, test = _cut(settings, kept, frames[0].rows)
    derived: list[str] = []
    x = _features(settings, layout, frame, train, test, derived)
    y, names = _numeric_target(settings, frame, kept) if layout.regression else _target(settings, frame, kept, derived)
    if not layout.regression and settings.target not in settings.categories:
        mend = f"name them in data.categories.{settings.target} where this is meant"
        check_test_labels(y[train], y[test], names, f"{paths[-1]}: {settings.target}", mend)
    groups = {name: _group(settings, layout, name, frame, kept, derived) for name in layout.groups}

    def table(part: NDArray[np.float32], rows: Rows) -> Table:
        columns = {name: GroupColumn(column.codes[rows], column.names) for name, column in groups.items()}
        return Table(torch.from_numpy(part), torch.from_numpy(y[rows]), columns)

    width = x[0].shape[1]
    about = f"{what}: {settings.target} from {width} features."
    if index := [name for name in files[0].index if settings.features is None and name != settings.target]:
        about += f" The frame's index ({', '.join(index)}) is no feature."
    about += _TOLD.get(settings.missing, "")
    preprocessing = _preprocessing(settings, layout, files[0].names, frame, train, test, names)
    return DataSet(
        name,
        table(x[0], train),
        table(x[1], test),
        names,
        about,
        tuple(dict.fromkeys(derived)),
        preprocessing=preprocessing,
    )


def _without_missing(settings: CsvData, layout: Layout, frame: Frame, marks: frozenset[str]) -> tuple[Frame, Rows]:
    """Treats missing values as the study says.

    Returns:
        The frame and the rows kept. Missing texts are code -1 or filled in, missing numbers NaN or filled in.
    """
    texts = {}
    for name, column in frame.texts.items():
        named = settings.categories.get(name, ())  # a value that the study names is not missing
        # One entry more than there are values: code -1 (missing in the file) finds the last, which is True.
        lost = np.array([value in marks and value not in named for value in column.values] + [True])
        texts[name] = Coded(np.where(lost[column.codes], -1, column.codes), column.values)
    frame = replace(frame, texts=texts)
    absent: dict[str, NDArray[np.bool_]] = {name: np.isnan(values) for name, values in frame.numbers.items()}
    absent |= {name: (texts[name].codes < 0) | absent.get(name, False) for name in texts}
    if settings.missing == "drop":
        kept = ~np.any(list(absent.values()), axis=0)
        return frame, np.flatnonzero(kept)
    if settings.missing != "refuse":
        frame = _filled(settings, frame)
        whole = settings.missing == "category"
        number_gap = {*layout.numbers, settings.target} & set(frame.numbers) if whole else set(frame.numbers)
        text_gap = {settings.target, *layout.dates} & set(frame.texts) if whole else set(frame.texts)
        absent = {name: np.isnan(frame.numbers[name]) for name in number_gap}
        absent |= {name: (frame.texts[name].codes < 0) | absent.get(name, False) for name in text_gap}
    first = {name: int(where.argmax()) for name, where in absent.items() if where.any()}
    if first:
        worst = min(first, key=lambda name: first[name])
        raise DataError(f"{frame.place(first[worst])}: {worst} is missing; {_mend(settings, worst, worst in texts)}")
    return frame, np.arange(frame.rows)


def _mend(settings: CsvData, column: str, text: bool) -> str:
    if settings.missing == "refuse":
        named = f"; where it is a value, name it in data.categories.{column}" if text else ""
        return f"mend it, or set data.missing to drop, category or value{named}"
    if column == settings.target:
        return "a row without its target teaches nothing, set data.missing to drop"
    return f"give data.fill a value for {column!r}, or set data.missing to drop"


def _filled(settings: CsvData, frame: Frame) -> Frame:
    numbers, texts = dict(frame.numbers), dict(frame.texts)
    for name, value in settings.fill.items():
        if name in numbers and name != settings.target:
            if isinstance(value, str):
                raise StudyError(f"data.fill: {name!r} is a number, but its fill is the text {value!r}")
            numbers[name] = np.where(np.isnan(numbers[name]), value, numbers[name])
        if name in texts and name != settings.target:
            if not isinstance(value, str):
                raise StudyError(f"data.fill: {name!r} is categorical; put its fill {value:g} in quotes")
            column = texts[name]
            codes = np.where(column.codes < 0, len(column.values), column.codes)
            texts[name] = recoded(Coded(codes, (*column.values, value)), [*column.values, value])
    return replace(frame, numbers=numbers, texts=texts)


def _cut(settings: CsvData, kept: Rows, first_file: int) -> tuple[Rows, Rows]:
    """Returns the training and test rows, ascending."""
    if settings.test_path is not None:
        train, test = kept[kept < first_file], kept[kept >= first_file]
    else:
        # A stream of its own, of no study's seed: every study that reads this table tests on the same rows.
        share = _TEST_FRACTION if settings.test_fraction is None else settings.test_fraction
        drawn = stream(0, "csv test rows").permutation(len(kept)) < round(len(kept) * share)
        train, test = kept[~drawn], kept[drawn]
    if not len(train) or not len(test):
        raise DataError(
            f"{settings.path}: {len(kept)} rows without missing values leave {len(train)} to train on and "
            f"{len(test)} to test on; choose data.test_fraction or data.test_path so that both have rows"
        )
    return train, test


def _features(
    settings: CsvData, layout: Layout, frame: Frame, train: Rows, test: Rows, derived: list[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Computes the features of the training and of the test rows, float32."""
    rows = np.concatenate([train, test])
    coded = {name: _values(settings, name, frame, rows, derived) for name in layout.categories}
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
    days = ordinals(Coded(column.codes[train], column.values), lambda at: frame.place(int(train[at])), name)
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
                f"{frame.place(row)}: {name} {values[row]:g} is outside of its range {low:g} to {high:g}; mend it, or "
                f"widen data.ranges.{name}, or set data.clamp"
            )
    if logarithmic:
        negative = rows[values[rows] < 0]
        if len(negative):
            row = int(negative.min())
            raise DataError(f"{frame.place(row)}: {name} {values[row]:g} is below 0, so it has no log(1 + value)")
        low, high, values = np.log1p(low), np.log1p(high), np.log1p(values)
    # A column with one value has an empty range: it becomes 0, not NaN.
    return (values[rows] - low) / ((high - low) or 1.0)


def _preprocessing(
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
        known = _values(settings, name, frame, rows, []).names
        missing = MISSING if settings.missing == "category" else None
        columns.append(CategoryColumn(name, known, missing if fill is None else str(fill)))
    used = {column.name for column in columns}
    table = TableInput(
        tuple(columns),
        tuple(name for name in there if name not in used),
        tuple(sorted(MISSING_TEXTS.union(settings.missing_values))),
        settings.delimiter,
        settings.columns,
    )
    bounds = settings.target_range
    return Preprocessing(table, classes, settings.target, (bounds[0], bounds[1]) if bounds else None)


def _values(
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
                f"{frame.place(row)}: {name} {column.values[code]!r} is none of data.categories.{name}"
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


def _target(settings: CsvData, frame: Frame, kept: Rows, derived: list[str]) -> tuple[Rows, tuple[str, ...]]:
    """Returns the labels of all rows and what each means. Labels of dropped rows are there too but never read."""
    column = _values(settings, settings.target, frame, kept, derived, "target")
    if len(column.names) < 2:
        raise DataError(f"{settings.path}: {settings.target} has one value only, so there is nothing to tell apart")
    return column.codes, column.names


def _numeric_target(settings: CsvData, frame: Frame, kept: Rows) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Returns the number to predict of all rows, NaN in dropped rows, and no class names."""
    values = frame.numbers[settings.target]
    return scaled_target(values, settings.target_range, kept, lambda row: f"{frame.place(row)}: {settings.target}"), ()


def _group(settings: CsvData, layout: Layout, name: str, frame: Frame, kept: Rows, derived: list[str]) -> GroupColumn:
    """Returns a sensitive group of all rows, from its texts or cut from its numbers."""
    if name not in layout.bins:
        return _values(settings, name, frame, kept, derived, "groups")
    cuts, values = settings.bins[name], frame.numbers[name]
    between = [f"[{low:g}, {high:g})" for low, high in pairwise(cuts)]
    names = (f"<{cuts[0]:g}", *between, f">={cuts[-1]:g}")
    codes = np.digitize(values, cuts).astype(np.int64)
    if settings.missing == "category":
        names = (*names, MISSING)
    return GroupColumn(np.where(np.isnan(values), len(cuts) + 1, codes), names)


SOURCE = Source(
    CsvData,
    lambda settings, seed: load_csv(settings),
    Facts(
        "csv",
        "A table of your own: CSV or Parquet",
        YOURS,
        YOURS,
        YOURS,
        YOURS,
        YOURS,
        "set data.path to your file",
    ),
)
