"""Exports a trained model for other programs, as ONNX or with `torch.export`."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from accord.core.errors import RequestError
from accord.data.preprocessing import TableInput
from accord.orchestration.trained_model import TrainedModel
from accord.records.store import write_bytes

if TYPE_CHECKING:
    from torch.export import ExportedProgram

METADATA = "accord"
"""The name under which an exported file carries the content of `model.json`, as JSON."""


class ExportError(RequestError):
    """The model cannot be exported, or a package that exporting needs is missing."""


def write_torch_export(model: TrainedModel, path: Path) -> None:
    """Writes the model with `torch.export`, for any number of rows. Read it with `torch.export.load`.

    The program takes features `[rows, ...]` as the model does, and returns its outputs. Its extra file `accord.json`
    holds the content of `model.json`.

    Raises:
        ExportError: the network's `forward` cannot be exported.
        StorageError: the disk is full or refuses the write.
    """
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(_program(model), buffer, extra_files={f"{METADATA}.json": _about(model)})
    write_bytes(path, buffer.getvalue())


def write_onnx(model: TrainedModel, path: Path) -> None:
    """Writes the model as ONNX, for any number of rows.

    The graph takes `features` `[rows, ...]` and gives `outputs`, which are logits or the predicted number. Its metadata
    holds the content of `model.json` under `accord`.

    Raises:
        ExportError: the extra `onnx` is not installed, or the network's `forward` cannot be exported.
        StorageError: the disk is full or refuses the write.
    """
    try:
        import onnx  # noqa: F401 - torch.onnx needs both, and says so less clearly
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"{path}: ONNX needs onnx and onnxscript; pip install 'accord[onnx]'") from error
    with _quiet():
        made = torch.onnx.export(
            _program(model), dynamo=True, verbose=False, input_names=["features"], output_names=["outputs"]
        )
    if made is None:
        raise ExportError(f"{path}: this network cannot be written as ONNX")
    # The whole file is built in memory, so that `write_bytes` can write it atomically.
    proto = made.model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA, _about(model)
    write_bytes(path, proto.SerializeToString())


def example(model: TrainedModel, rows: int = 2) -> torch.Tensor:
    """Returns zeros of the shape and type that the model takes, as an example input for tracing."""
    wanted = model.preprocessing.input
    dtype = next(model.network.parameters()).dtype
    if not isinstance(wanted, TableInput) and wanted.dtype in ("uint8", "int64"):
        dtype = getattr(torch, wanted.dtype)
    # Two rows or more, since torch.export specialises dimensions of size 1.
    return torch.zeros((rows, *wanted.shape), dtype=dtype)


def _program(model: TrainedModel) -> "ExportedProgram":
    # Symbolic, since the export would otherwise fix the example's number of rows.
    rows = {0: torch.export.Dim("rows")}
    try:
        return torch.export.export(model, (example(model),), dynamic_shapes=(rows,))
    except Exception as error:
        # A user's own network may do anything, and torch.export's errors have no base class of their own.
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"the network's forward cannot be exported ({type(error).__name__}: {reason})") from error


def _about(model: TrainedModel) -> str:
    return json.dumps(model.preprocessing.as_json())


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporters' notes on packages that are not needed here, and on their own deprecated calls."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
