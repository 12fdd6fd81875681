"""`csv`: any table of a user's own. What the study does not state is read off the rows and listed in `derived`.

Under differential privacy a range, or the values that happen to occur, would itself be a release of the training rows
that nobody accounted for. A private study states them (`ranges`, `categories`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from accord.config.data import CsvData
from accord.core.errors import DataError, StudyError
from accord.core.streams import stream
from accord.data.class_names import check_test_labels
from accord.data.federated import DataSet, GroupColumn, Rows, Table
from accord.data.missing import MISSING_TEXTS
from accord.data.sources.base import YOURS, Facts, Source
from accord.data.sources.table_features import coded_values, group_of, table_features, table_preprocessing
from accord.data.sources.table_file import Coded, Frame, TableFile, joined, open_table, recoded
from accord.data.sources.table_layout import Layout, layout_of, nearest_column
from accord.data.sources.target import scaled_target

Cut = Callable[[Frame, Rows], tuple[Rows, Rows]]
"""Maps a table and its rows to be used, ascending, to training and test rows, both ascending."""

_TEST_FRACTION = 0.2
_ABOUT_MISSING = {
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
    settings: CsvData, files: Sequence[TableFile], paths: Sequence[str], name: str, what: str, cut: Cut | None = None
) -> DataSet:
    """Builds the data set of a table's rows, see `load_csv`.

    Args:
        settings: what its columns are.
        files: one table, or one of training rows and one of test rows.
        paths: what each is called in messages.
        name: of the data set.
        what: what it is, as the start of its description.
        cut: chooses the test rows. None chooses as the settings say.

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
    frame, valid, missing = _without_missing(settings, layout, frame, marks)
    train, test = _split(settings, valid, frames[0].rows) if cut is None else cut(frame, valid)
    derived: list[str] = []
    x = table_features(settings, layout, frame, train, test, derived)
    y, names = (
        _numeric_target(settings, frame, valid) if layout.regression else _target(settings, frame, valid, derived)
    )
    if not layout.regression and settings.target not in settings.categories:
        mend = f"name them in data.categories.{settings.target} where this is meant"
        check_test_labels(y[train], y[test], names, f"{paths[-1]}: {settings.target}", mend)
    groups = {name: group_of(settings, layout, name, frame, valid, derived) for name in layout.groups}

    def table(part: NDArray[np.float32], rows: Rows) -> Table:
        columns = {name: GroupColumn(column.codes[rows], column.names) for name, column in groups.items()}
        return Table(torch.from_numpy(part), torch.from_numpy(y[rows]), columns)

    width = x[0].shape[1]
    about = f"{what}: {settings.target} from {width} features."
    if index := [name for name in files[0].index if settings.features is None and name != settings.target]:
        about += f" The frame's index ({', '.join(index)}) is no feature."
    about += _ABOUT_MISSING.get(settings.missing, "")
    preprocessing = table_preprocessing(settings, layout, files[0].names, frame, train, test, names)
    return DataSet(
        name,
        table(x[0], train),
        table(x[1], test),
        names,
        about,
        tuple(dict.fromkeys(derived)),
        preprocessing=preprocessing,
        left_out=frame.rows - len(train) - len(test) if settings.missing == "drop" else 0,
        missing=missing,
    )


def _without_missing(
    settings: CsvData, layout: Layout, frame: Frame, marks: frozenset[str]
) -> tuple[Frame, Rows, dict[str, int]]:
    """Treats missing values as the study says.

    Returns:
        The frame, the rows kept, and each column's missing values. Missing texts are code -1 or filled in, missing
        numbers NaN or filled in.
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
    # Where they are refused there are none, and a count of none would take its share of a release's noise.
    counted = {} if settings.missing == "refuse" else {name: int(where.sum()) for name, where in absent.items()}
    if settings.missing == "drop":
        valid = ~np.any(list(absent.values()), axis=0)
        return frame, np.flatnonzero(valid), counted
    if settings.missing != "refuse":
        frame = _filled(settings, frame)
        by_category = settings.missing == "category"
        number_gap = {*layout.numbers, settings.target} & set(frame.numbers) if by_category else set(frame.numbers)
        text_gap = {settings.target, *layout.dates} & set(frame.texts) if by_category else set(frame.texts)
        absent = {name: np.isnan(frame.numbers[name]) for name in number_gap}
        absent |= {name: (frame.texts[name].codes < 0) | absent.get(name, False) for name in text_gap}
    first = {name: int(where.argmax()) for name, where in absent.items() if where.any()}
    if first:
        worst = min(first, key=lambda name: first[name])
        raise DataError(f"{frame.locate(first[worst])}: {worst} is missing; {_mend(settings, worst, worst in texts)}")
    return frame, np.arange(frame.rows), counted


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


def _split(settings: CsvData, valid: Rows, first_file: int) -> tuple[Rows, Rows]:
    """Returns the training and test rows, ascending."""
    if settings.test_path is not None:
        train, test = valid[valid < first_file], valid[valid >= first_file]
    else:
        # A stream of its own, of no study's seed: every study that reads this table tests on the same rows.
        share = _TEST_FRACTION if settings.test_fraction is None else settings.test_fraction
        in_test = stream(0, "csv test rows").permutation(len(valid)) < round(len(valid) * share)
        train, test = valid[~in_test], valid[in_test]
    if not len(train) or not len(test):
        raise DataError(
            f"{settings.path}: {len(valid)} rows without missing values leave {len(train)} to train on and "
            f"{len(test)} to test on; choose data.test_fraction or data.test_path so that both have rows"
        )
    return train, test


def _target(settings: CsvData, frame: Frame, valid: Rows, derived: list[str]) -> tuple[Rows, tuple[str, ...]]:
    """Returns the labels of all rows and what each means. Labels of dropped rows are there too but never read."""
    column = coded_values(settings, settings.target, frame, valid, derived, "target")
    if len(column.names) < 2:
        raise DataError(f"{settings.path}: {settings.target} has one value only, so there is nothing to tell apart")
    return column.codes, column.names


def _numeric_target(settings: CsvData, frame: Frame, valid: Rows) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Returns the number to predict of all rows, NaN in dropped rows, and no class names."""
    values = frame.numbers[settings.target]
    return scaled_target(
        values, settings.target_range, valid, lambda row: f"{frame.locate(row)}: {settings.target}"
    ), ()


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
