"""Describes how rows become a model's input, so that rows after the training get the same features.

The description is stored with the model (`model.json` of a run folder). It contains nothing read off private rows.
Under privacy a study states every range and category, or is refused (`accord.data.prepare.check_stated`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.core.errors import DataError, RunFolderError
from accord.data.date_columns import DateColumn
from accord.data.feature_columns import CategoryColumn, Column, NumberColumn, nearest_of
from accord.data.picture_folder import read_pictures
from accord.data.row_problems import RowProblem, refuse_rows
from accord.data.sources.table_file import Coded, Frame

if TYPE_CHECKING:
    from accord.data.federated import DataSet

FORMAT = 1
"""The version of `model.json`. A reader refuses versions that it does not know."""


@dataclass(frozen=True)
class TableInput:
    """Rows of a table, whose columns have names.

    Attributes:
        columns: those that are features, in the order of the features.
        others: columns that may be there too and are ignored, such as the target and the groups.
        missing_values: texts that stand for a missing value.
        delimiter: between the fields of a line of text.
        names: of the columns of a text file without a first line of names. None where that line names them.
        drops: whether the training left out rows with missing values, so that such rows have no prediction.
    """

    columns: tuple[Column, ...]
    others: tuple[str, ...] = ()
    missing_values: tuple[str, ...] = ("", "?", "NA")
    delimiter: str = ","
    names: tuple[str, ...] | None = None
    drops: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row's features."""
        return (sum(column.width for column in self.columns),)

    def number_names(self) -> list[str]:
        """Returns the columns to read as numbers."""
        return [column.name for column in self.columns if isinstance(column, NumberColumn)]

    def category_names(self) -> list[str]:
        """Returns the columns to read as texts."""
        return [column.name for column in self.columns if not isinstance(column, NumberColumn)]

    def check_names(self, there: Iterable[str], where: str) -> None:
        """Refuses a table that lacks a column, or has a column that is neither a feature nor in `others`.

        Raises:
            DataError: names each such column and the nearest.
        """
        there = list(there)
        wanted = [column.name for column in self.columns]
        told = [
            f"{where}: no column {name!r}, which the model needs{nearest_of(name, there)}"
            for name in wanted
            if name not in there
        ]
        told += [
            f"{where}: unknown column {name!r}, which the model was not trained with"
            f"{nearest_of(name, (*wanted, *self.others))}"
            for name in there
            if name not in wanted and name not in self.others
        ]
        if told:
            raise DataError("\n".join(told), tuple(told))

    def features(self, frame: Frame) -> Tensor:
        """Computes the features of the rows, shape `[n, features]`, float32.

        Raises:
            DataError: values are missing, unknown or out of their range. It names row and column of the first few.
        """
        frame = self._marked(frame)
        refuse_rows(self._problems(frame), frame.locate)
        return self._features(frame)

    def usable_features(self, frame: Frame) -> tuple[Tensor, NDArray[np.int64]]:
        """Computes the features of the rows that can be predicted.

        Returns:
            Their features, shape `[m, features]`, and which rows they are, shape `[m]`, ascending. They are all rows
            unless `drops`, else those without missing values.

        Raises:
            DataError: as `features`. What else is wrong with rows that are left out is not looked at, as in training.
        """
        frame = self._marked(frame)
        problems = self._problems(frame)
        usable = np.ones(frame.rows, dtype=np.bool_)
        for each in problems:
            if each.gap and self.drops:
                usable[each.rows] = False
        here = [RowProblem(each.rows[usable[each.rows]], each.text, each.gap) for each in problems]
        refuse_rows(here, frame.locate)
        rows = np.flatnonzero(usable)
        return self._features(frame if usable.all() else frame.take(rows)), rows

    def _problems(self, frame: Frame) -> list[RowProblem]:
        return [problem for column in self.columns for problem in column.problems(frame)]

    def _marked(self, frame: Frame) -> Frame:
        """Marks missing texts as in training, where a "?" must not become an unknown category."""
        marked = {name: _without_marks(column, self, name) for name, column in frame.texts.items()}
        return replace(frame, texts=marked)

    def _features(self, frame: Frame) -> Tensor:
        # Each column is worked out in float64 and rounded once, as the training rows were.
        parts = [column.features(frame).astype(np.float32) for column in self.columns]
        return torch.from_numpy(np.concatenate(parts, axis=1))

    def as_json(self) -> dict[str, Any]:
        """Returns this as plain values for `model.json`."""
        return {
            "kind": "table",
            "columns": [column.as_json() for column in self.columns],
            "others": list(self.others),
            "missing_values": list(self.missing_values),
            "delimiter": self.delimiter,
            "names": None if self.names is None else list(self.names),
            "drops": self.drops,
        }


@dataclass(frozen=True)
class TensorInput:
    """Rows that are tensors already: pictures, tokens, or features that a user's own code made.

    Attributes:
        shape: of one row.
        dtype: `uint8` pixels (the model divides them by 255), `int64` tokens, or a floating-point type.
        pixels: of pictures in floating point the mean and the standard deviation by which pixels are scaled,
            `(pixel / 255 - mean) / deviation`. None where rows are no such pictures.
    """

    shape: tuple[int, ...]
    dtype: str
    pixels: tuple[float, float] | None = None

    def tensor(self, rows: Any, where: str) -> Tensor:
        """Converts rows to a tensor of shape `[n, *shape]`, and reshapes rows that are flat.

        Raises:
            DataError: the shape or the type differs from what the model takes.
        """
        # torch refuses arrays with negative strides, such as flipped pictures.
        x = torch.as_tensor(np.ascontiguousarray(rows) if isinstance(rows, np.ndarray) else rows)
        if x.dim() == 2 and len(self.shape) > 1 and x.shape[1] == prod(self.shape):
            x = x.reshape(-1, *self.shape)
        if tuple(x.shape[1:]) != self.shape or x.dim() < 2:
            raise DataError(
                f"{where}: shape {list(x.shape)}, but the model takes [rows, {', '.join(map(str, self.shape))}]"
            )
        wanted: torch.dtype = getattr(torch, self.dtype)
        # Tokens are checked below even where the type fits, since a negative one has no place in the embedding.
        if x.dtype == wanted and wanted != torch.int64:
            return x
        integral = not x.is_floating_point() or bool((x == x.round()).all())
        if wanted == torch.uint8 and x.is_floating_point() and bool(((x >= 0) & (x <= 1)).all()):
            return x.to(torch.float32)  # pixels divided by 255 already
        # 2^62 is exact in floating point and far above any vocabulary, while 2^63 - 1 would be rounded up out of int64.
        low, high = (0, 255) if wanted == torch.uint8 else (0, 2**62)
        if not wanted.is_floating_point and not (integral and bool(((x >= low) & (x <= high)).all())):
            what = "pixels are whole numbers from 0 to 255" if wanted == torch.uint8 else "tokens are whole numbers"
            raise DataError(f"{where}: {x.dtype} with other values than the model takes: {what}")
        return x.to(wanted)

    def as_json(self) -> dict[str, Any]:
        """Returns this as plain values for `model.json`."""
        pixels = None if self.pixels is None else list(self.pixels)
        return {"kind": "tensor", "shape": list(self.shape), "dtype": self.dtype, "pixels": pixels}

    def of_pictures(self, folder: Path) -> tuple[Tensor, tuple[str, ...]]:
        """Reads the pictures of a folder.

        Returns:
            Rows `[n, *shape]` in the order of the files' names, and these names.

        Raises:
            DataError: the model takes no pictures, or some do not fit.
        """
        if len(self.shape) != 3 or self.shape[0] not in (1, 3) or (self.dtype != "uint8" and self.pixels is None):
            what = "tokens; encode texts as in training" if self.dtype == "int64" else f"rows of {self.dtype} numbers"
            raise DataError(
                f"{folder}: the model takes {list(self.shape)} {what}, not pixels of pictures; give rows as .npy, or "
                "as a table"
            )
        rows, files = read_pictures(folder, self.shape)
        if self.pixels is not None:
            mean, deviation = self.pixels
            # 256 possible pixels: each is scaled once, in float64, and looked up, as in training.
            scaled = ((np.arange(256) / 255 - mean) / deviation).astype(self.dtype)
            return torch.from_numpy(scaled[rows]), files
        return torch.from_numpy(rows), files


@dataclass(frozen=True)
class Preprocessing:
    """How rows become a model's input, and how its output becomes a prediction.

    Attributes:
        input: what rows are.
        classes: what each label means, or empty where a number is predicted.
        target: what is predicted, or None where the data has no name for it.
        target_range: low and high of a number to predict, which the model outputs as 0 and 1. None where it outputs the
            number itself.
    """

    input: TableInput | TensorInput
    classes: tuple[str, ...]
    target: str | None = None
    target_range: tuple[float, float] | None = None

    def predicted(self, outputs: Tensor) -> Tensor:
        """Converts a regression's outputs `[n, 1]` to numbers `[n]` in the target's own unit, float64."""
        # In float64, so that scaling back adds no rounding to the model's float32.
        values = outputs[:, 0].double()
        if self.target_range is None:
            return values
        low, high = self.target_range
        return low + (high - low) * values

    def as_json(self) -> dict[str, Any]:
        """Returns the content of `model.json`.

        >>> made = Preprocessing(TableInput((NumberColumn("age", (0.0, 100.0)),)), ("no", "yes"))
        >>> Preprocessing.from_json(made.as_json(), "model.json") == made
        True
        """
        return {
            "format": FORMAT,
            "task": "classification" if self.classes else "regression",
            "classes": list(self.classes),
            "target": self.target,
            "target_range": None if self.target_range is None else list(self.target_range),
            "input": self.input.as_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any], where: str) -> "Preprocessing":
        """Restores what `as_json` returned.

        Raises:
            RunFolderError: the version is unknown, or something is missing.
        """
        # Checked before anything else is read, since another version may have other keys.
        if value.get("format") != FORMAT:
            raise RunFolderError(
                f"{where}: format {value.get('format')!r}, but this version of Accord reads {FORMAT}; use the version "
                "that wrote it"
            )
        try:
            return Preprocessing(
                _input(value["input"]),
                tuple(value["classes"]),
                value["target"],
                None if value["target_range"] is None else _pair(value["target_range"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                f"{where}: damaged ({type(error).__name__}: {error}); restore it from a copy"
            ) from error


def preprocessing_of(data: "DataSet") -> Preprocessing:
    """Returns a data set's own preprocessing, or tensors of the training rows' shape where it has none."""
    if data.preprocessing is not None:
        return data.preprocessing
    x = data.train.x
    return Preprocessing(TensorInput(tuple(x.shape[1:]), str(x.dtype).removeprefix("torch.")), data.class_names)


def _without_marks(column: Coded, wanted: TableInput, name: str) -> Coded:
    """Sets the code of missing-value marks to -1, except for marks that are categories."""
    values = next(
        (each.values for each in wanted.columns if isinstance(each, CategoryColumn) and each.name == name), ()
    )
    # One entry more than there are values, for code -1 (missing already).
    marks = np.array([value in wanted.missing_values and value not in values for value in column.values] + [True])
    return Coded(np.where(marks[column.codes], -1, column.codes), column.values)


def _input(value: Mapping[str, Any]) -> TableInput | TensorInput:
    if value["kind"] == "tensor":
        pixels = value.get("pixels")  # earlier versions did not say it
        shape = tuple(int(size) for size in value["shape"])
        return TensorInput(shape, str(value["dtype"]), None if pixels is None else _pair(pixels))
    names = value["names"]
    return TableInput(
        tuple(_column(column) for column in value["columns"]),
        tuple(value["others"]),
        tuple(value["missing_values"]),
        value["delimiter"],
        None if names is None else tuple(names),
        bool(value.get("drops", False)),  # earlier versions did not say it
    )


def _column(value: Mapping[str, Any]) -> Column:
    if value["kind"] == "category":
        return CategoryColumn(value["name"], tuple(value["values"]), value["missing"])
    if value["kind"] == "date":
        years = value["years"]
        span = None if years is None else (int(years[0]), int(years[1]))
        return DateColumn(value["name"], value["rule"], span, value["outside"], value["missing"])
    bounds = value["range"]
    return NumberColumn(
        value["name"],
        None if bounds is None else _pair(bounds),
        _pair(value["scaled_to"]),
        value["logarithmic"],
        value["outside"],
        value["missing"],
    )


def _pair(values: Sequence[float]) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)
