"""A trained model for prediction: the network with its preprocessing, loaded from a run folder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accord.config.schema import Study
from accord.core.errors import DataError, RunFolderError
from accord.core.params import Params
from accord.data.federated import DataSet
from accord.data.frames import frame_of
from accord.data.preprocessing import Preprocessing, TableInput, TensorInput, preprocessing_of
from accord.data.sources.table_file import Frame, numbers_of_texts, open_table
from accord.models.adapt import SETTINGS
from accord.models.build import build
from accord.records import store

FILE = "model.json"
"""The file of a run folder that says how rows become the model's input. The parameters are in `model.safetensors`."""
_BATCH = 4096


@dataclass(frozen=True)
class Predictions:
    """A model's predictions of n rows.

    Attributes:
        values: the predicted class's name, or the predicted number, of each row, shape `[n]`.
        probabilities: shape `[n, classes]`, float64, each row summing to 1. None where a number is predicted.
        classes: the class of each column of `probabilities`.
        predicted: which rows have a prediction, shape `[n]`. The others have missing values, and the training left such
            rows out. Their value is None (NaN where a number is predicted), their probabilities are NaN. None where all
            rows have a prediction.
        files: the name of each row's file, where rows are pictures of a folder.
    """

    values: NDArray[Any]
    probabilities: NDArray[np.float64] | None
    classes: tuple[str, ...]
    predicted: NDArray[np.bool_] | None = None
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def blank(self) -> int:
        """How many rows have no prediction."""
        return 0 if self.predicted is None else int((~self.predicted).sum())

    def columns(self) -> dict[str, list[Any]]:
        """Returns table columns for `pandas.DataFrame`: `prediction`, and `probability_CLASS` of each class.

        A row without a prediction has None in each. Pictures of a folder have a column `file` in front.
        """
        found: dict[str, list[Any]] = {"prediction": self.values.tolist()}
        if self.probabilities is not None:
            for column, name in enumerate(self.classes):
                found[f"probability_{name}"] = self.probabilities[:, column].tolist()
        if self.predicted is not None:
            known = self.predicted.tolist()
            found = {
                name: [value if there else None for value, there in zip(values, known, strict=True)]
                for name, values in found.items()
            }
        return {"file": list(self.files), **found} if self.files else found


class TrainedModel(nn.Module):
    """A run's network in evaluation mode, with the preprocessing of its data.

    Called with features `[n, ...]`, as in training, it gives the network's outputs: logits `[n, classes]`, or `[n, 1]`
    where a number is predicted. `features` turns rows into features, and `predict` turns rows into predictions.

    Attributes:
        network: the network with its trained parameters.
        preprocessing: what rows are and what outputs mean.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = preprocessing
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Computes the network's outputs. uint8 pixels are first divided by 255, as in training."""
        if x.dtype == torch.uint8:
            x = x.to(next(self.network.parameters()).dtype) / 255
        out: Tensor = self.network(x)
        return out

    def features(self, rows: Any) -> Tensor:
        """Turns rows into the input of the network.

        Args:
            rows: a file (CSV or Parquet, or `.npy` for rows that are tensors), a folder of pictures, a pandas
                `DataFrame`, a mapping of columns, or features `[n, ...]`.

        Raises:
            DataError: a column is missing or unknown, or a value does not fit. It names row and column.
        """
        found = _rows_of(rows, self.preprocessing.input)
        if isinstance(found, Tensor):
            return found
        frame, wanted = found
        return wanted.features(frame)

    def predict(self, rows: Any) -> Predictions:
        """Predicts rows, in any form that `features` takes, in their order.

        Where the training left out rows of a table that have missing values, such rows have no prediction here.

        Raises:
            DataError: as for `features`.
        """
        wanted_input = self.preprocessing.input
        if isinstance(rows, str | Path) and Path(rows).is_dir():
            x, files = _pictures(Path(rows), wanted_input)
            return replace(self._predict(x), files=files)
        found = _rows_of(rows, wanted_input)
        if isinstance(found, Tensor):
            return self._predict(found)
        frame, wanted = found
        x, usable = wanted.usable_features(frame)
        if len(usable) == frame.rows:
            return self._predict(x)
        there = np.zeros(frame.rows, dtype=np.bool_)
        there[usable] = True
        return _spread(self._predict(x), there)

    def _predict(self, x: Tensor) -> Predictions:
        dtype, classes = next(self.network.parameters()).dtype, self.preprocessing.classes
        with torch.no_grad():
            # In pieces, so that activations of a large table fit memory. Token indices stay integers.
            pieces = [self(piece.to(dtype) if piece.is_floating_point() else piece) for piece in torch.split(x, _BATCH)]
        outputs = torch.cat(pieces).cpu()
        if not classes:
            return Predictions(self.preprocessing.predicted(outputs).numpy(), None, ())
        names = np.array(classes, dtype=object)
        # In double precision, since rows of float32 probabilities would sum to 1 less exactly.
        return Predictions(names[outputs.argmax(1).numpy()], outputs.double().softmax(1).numpy(), classes)


def _spread(found: Predictions, there: NDArray[np.bool_]) -> Predictions:
    """Puts predictions at the rows that have one, shape `[n]`, with blanks between them."""
    values = np.full(len(there), None if found.classes else np.nan, dtype=found.values.dtype)
    values[there] = found.values
    probabilities = None
    if found.probabilities is not None:
        probabilities = np.full((len(there), found.probabilities.shape[1]), np.nan)
        probabilities[there] = found.probabilities
    return Predictions(values, probabilities, found.classes, there)


def make_model(study: Study, params: Params, preprocessing: Preprocessing) -> TrainedModel:
    """Builds the study's network with the given parameters.

    Raises:
        RunFolderError: the parameters do not fit the network, since the file of a custom model has changed.
        StudyError: a custom model's function is not found.
    """
    wanted = preprocessing.input
    options = study.model.model_dump(exclude={"name"})
    # The parameters already include the weights that training started from, so their file may be gone by now.
    options |= {name: None if name != "pretrained_except" else () for name in SETTINGS if name.startswith("pretrained")}
    tokens = 1 if isinstance(wanted, TensorInput) and wanted.dtype == "int64" else None
    network = build(study.model.name, options, wanted.shape, len(preprocessing.classes), study.seed, tokens=tokens)
    # Parameters and floating-point buffers are saved. Integer buffers, such as counters, are not part of them.
    known = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    there = {name: value.shape for name, value in params.items()}
    if there != {name: value.shape for name, value in known.items()}:
        odd = sorted(there.keys() ^ known.keys()) or sorted(name for name in there if there[name] != known[name].shape)
        raise RunFolderError(
            f"model {study.model.name}: the run's parameters are not those of the network ({odd[0]}); put back the "
            "code that it was trained with"
        )
    network.to(next(iter(params.values())).dtype)
    # Not strict, since integer buffers are missing. All other names were compared above.
    network.load_state_dict(dict(params), strict=False)
    return TrainedModel(network, preprocessing)


def write_preprocessing(folder: Path, data: DataSet) -> None:
    """Writes `model.json`, which holds nothing that was read from private rows.

    Raises:
        StorageError: the disk is full or refuses the write.
    """
    store.write_json(folder / FILE, preprocessing_of(data).as_json())


def read_preprocessing(folder: Path) -> Preprocessing:
    """Reads the run folder's `model.json`.

    Raises:
        RunFolderError: it is missing or damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise RunFolderError(
            f"{folder}: no {FILE}, so how rows become the model's input is not known; a run of an earlier version, "
            "run the study again"
        )
    return Preprocessing.from_json(store.read_json(path), str(path))


def _pictures(folder: Path, wanted: TableInput | TensorInput) -> tuple[Tensor, tuple[str, ...]]:
    if isinstance(wanted, TableInput):
        raise DataError(f"{folder}: a folder, but the model takes rows of a table; name a CSV or Parquet file")
    return wanted.of_pictures(folder)


def _rows_of(rows: Any, wanted: TableInput | TensorInput) -> Tensor | tuple[Frame, TableInput]:
    """Returns features as a tensor, or the columns of a table with how features follow from them."""
    if isinstance(rows, str | Path):
        return _pictures(Path(rows), wanted)[0] if Path(rows).is_dir() else _read(Path(rows), wanted)
    if not isinstance(rows, Tensor | np.ndarray | list | tuple):
        if isinstance(wanted, TensorInput):
            return _read_columns(rows, wanted, "rows")
        return frame_of(rows, wanted, "rows"), wanted
    if isinstance(wanted, TableInput):
        wanted = TensorInput(wanted.shape, "float32")
    return wanted.tensor(rows, "rows")


def _read(path: Path, wanted: TableInput | TensorInput) -> Tensor | tuple[Frame, TableInput]:
    """Reads the rows of a file."""
    if path.suffix == ".npy":
        try:
            # Loading a pickle could run code.
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as a numpy array ({error})") from error
        shape = wanted if isinstance(wanted, TensorInput) else TensorInput(wanted.shape, "float32")
        return shape.tensor(array, str(path))
    if isinstance(wanted, TensorInput):
        file = open_table(path)
        names = _flat_names(wanted, file.names, str(path))
        frame = file.read(names, [], ())
        return _of_columns(frame.numbers, names, wanted, str(path))
    file = open_table(path, wanted.delimiter, wanted.names)
    wanted.check_names(file.names, str(path))
    numbers, categories = wanted.number_names(), wanted.category_names()
    try:
        return file.read(numbers, categories, wanted.missing_values), wanted
    except DataError:
        # As texts, so that all numbers that cannot be read are told, together with what else is wrong.
        frame = file.read([], [*numbers, *categories], wanted.missing_values)
        found = numbers_of_texts(frame, numbers, wanted.missing_values)
        if not any(found.strange.values()):
            raise
        return found, wanted


def _read_columns(rows: Mapping[str, Any], wanted: TensorInput, where: str) -> Tensor:
    names = _flat_names(wanted, tuple(str(name) for name in rows), where)
    return _of_columns({name: np.asarray(rows[name], dtype=np.float64) for name in names}, names, wanted, where)


def _of_columns(
    columns: Mapping[str, NDArray[np.float64]], names: list[str], wanted: TensorInput, where: str
) -> Tensor:
    flat = np.stack([columns[name] for name in names], axis=1)
    if not np.isfinite(flat).all():
        row, column = np.argwhere(~np.isfinite(flat))[0]
        raise DataError(f"{where}: row {row + 1}: {names[column]} is missing")
    return wanted.tensor(torch.from_numpy(flat).reshape(-1, *wanted.shape), where)


def _flat_names(wanted: TensorInput, there: tuple[str, ...], where: str) -> list[str]:
    """Returns the table columns of rows that are tensors: `x0`, `x1`, ..., row by row of the tensor.

    Raises:
        DataError: one is missing, or there is another.
    """
    names = [f"x{index}" for index in range(int(np.prod(wanted.shape)))]
    if odd := [*(name for name in names if name not in there), *(name for name in there if name not in names)]:
        raise DataError(
            f"{where}: column {odd[0]!r} is {'missing' if odd[0] in names else 'unknown'}; the model takes tensors of "
            f"shape {list(wanted.shape)}, in a table the columns {names[0]} to {names[-1]} and no others"
        )
    return names
