"""A trained model for other programs: ONNX, and PyTorch's own exported programs."""

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
"""Under this name a file carries what `model.json` holds, as JSON."""


class ExportError(RequestError):
    """A model, or this installation, cannot give what was asked for."""


def write_torch_export(model: TrainedModel, path: Path) -> None:
    """Writes the model as `torch.export` does, any number of rows; read it with `torch.export.load`.

    The program takes features `[rows, ...]`, as the model does, and gives its outputs. What `model.json` holds is in
    its extra file `accord.json`.

    Raises:
        ExportError: the network's `forward` cannot be exported.
        StorageError: the disk is full or refuses.
    """
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(_program(model), buffer, extra_files={f"{METADATA}.json": _about(model)})
    write_bytes(path, buffer.getvalue())


def write_onnx(model: TrainedModel, path: Path) -> None:
    """Writes the model as ONNX, any number of rows.

    The graph takes `features` `[rows, ...]` and gives `outputs`: logits, or the number predicted. What `model.json`
    holds is in its metadata, under `accord`.

    Raises:
        ExportError: the extra `onnx` is not installed, or the network's `forward` cannot be exported.
        StorageError: the disk is full or refuses.
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
    proto = made.model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA, _about(model)
    write_bytes(path, proto.SerializeToString())


def example(model: TrainedModel, rows: int = 2) -> torch.Tensor:
    """Features of no meaning, of the shape and type that the model takes."""
    wanted = model.preprocessing.input
    dtype = next(model.network.parameters()).dtype
    if not isinstance(wanted, TableInput) and wanted.dtype in ("uint8", "int64"):
        dtype = getattr(torch, wanted.dtype)
    return torch.zeros((rows, *wanted.shape), dtype=dtype)


def _program(model: TrainedModel) -> "ExportedProgram":
    rows = {0: torch.export.Dim("rows")}
    try:
        return torch.export.export(model, (example(model),), dynamic_shapes=(rows,))
    except Exception as error:
        # A user's own network may do anything; torch.export's errors have no root of their own.
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"the network's forward cannot be exported ({type(error).__name__}: {reason})") from error


def _about(model: TrainedModel) -> str:
    return json.dumps(model.preprocessing.as_json())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' notes on packages that nothing here needs, and on their own deprecated calls."""
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
