"""Checkpoints and the final model, stored as safetensors with further state as JSON in the header.

Each file contains its own digest, so that a damaged file is detected instead of resumed from. It also stores the
order of the tensor names, which safetensors does not preserve. Equal contents give equal bytes.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from accord.core.errors import RunFolderError
from accord.records.store import storing, write_bytes

_MOST_CHECKPOINTS = 2
_NAME = re.compile(r"round-(\d{6,})\.safetensors")
# The header is JSON, and so is its one entry. Therefore the quotes are escaped.
_DIGEST = re.compile(rb'\\"digest\\":\\"([0-9a-f]{32})\\"')
_BLANK = "0" * 32


@dataclass(frozen=True)
class Checkpoint:
    """The state that a run resumes from.

    Attributes:
        round: the last round included, counted from 1. It is 0 before the first round.
        tensors: tensors by name, in the order they were saved in, on the CPU.
        state: the rest of the saved state, as parsed from JSON.
        skipped: newer checkpoints that are damaged and were skipped, newest first.
    """

    round: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    skipped: tuple[Path, ...] = ()


def save(folder: Path, round_number: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Writes `checkpoints/round-000012.safetensors` in the run folder. Keeps it and the newest one before it.

    Checkpoints of later rounds are deleted as well, because a run that saves round 12 has abandoned them.

    Args:
        folder: the run folder.
        round_number: the last finished round.
        tensors: tensors by name, of any shape, dtype and device. Values are preserved bit for bit, strides are not.
        state: JSON values with string keys, under 100 MB as text. Arrays belong in `tensors`.

    Returns:
        The file written.

    Raises:
        StorageError: the disk is full or refuses. The earlier checkpoints are unchanged.
        ValueError: the state is too large, or contains NaN or an infinity.
    """
    path = folder / "checkpoints" / f"round-{round_number:06d}.safetensors"
    data = _pack(tensors, {"round": round_number, "state": dict(state)})
    with storing(path):
        path.parent.mkdir(exist_ok=True)
    write_bytes(path, data)
    found = _found(folder)
    latest = [number for number in found if number <= round_number][:_MOST_CHECKPOINTS]
    # Old checkpoints are deleted only after the new one is on the disk, so that a kill never leaves none.
    with storing(path.parent):
        for number in found.keys() - latest:
            found[number].unlink()
    return path


def rounds(folder: Path) -> list[int]:
    """Returns the rounds of a run folder's checkpoints, newest first."""
    return list(_found(folder))


def latest(folder: Path) -> Checkpoint | None:
    """Returns the newest undamaged checkpoint of a run folder, or None if there are no checkpoints.

    Raises:
        RunFolderError: there are checkpoints, but all are damaged.
    """
    skipped: list[Path] = []
    for path in _found(folder).values():
        try:
            tensors, about = _unpack(path.read_bytes())
            return Checkpoint(about["round"], tensors, about["state"], tuple(skipped))
        except (OSError, ValueError, KeyError):
            skipped.append(path)
    if skipped:
        raise RunFolderError(
            f"{folder / 'checkpoints'}: no checkpoint is whole ({', '.join(path.name for path in skipped)}); "
            "run the study again into another folder"
        )
    return None


def save_model(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Writes a model's tensors as one safetensors file, with JSON metadata in the header.

    Raises:
        StorageError: the disk is full or refuses.
        ValueError: the metadata is too large, or contains NaN or an infinity.
    """
    write_bytes(path, _pack(tensors, {"metadata": dict(metadata)}))


def load_model(path: Path) -> dict[str, Tensor]:
    """Loads the tensors of a safetensors file on the CPU, in the saved order if `save_model` wrote it.

    Raises:
        RunFolderError: the file is missing, cannot be read, or is damaged.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "model.safetensors")
    ...     save_model(path, {"weight": torch.tensor([0.5]), "bias": torch.tensor(2.0)}, {"rounds": 3})
    ...     load_model(path)
    {'weight': tensor([0.5000]), 'bias': tensor(2.)}
    """
    try:
        return _unpack(path.read_bytes())[0]
    except OSError as error:
        raise RunFolderError(f"model {path} cannot be read ({error.strerror}); name a .safetensors file") from error
    except (ValueError, KeyError) as error:
        raise RunFolderError(
            f"model {path} is not a whole safetensors file ({error}); restore it from a copy"
        ) from error


def _found(folder: Path) -> dict[int, Path]:
    """Lists the run's checkpoints by round, newest first."""
    matches = [(_NAME.fullmatch(path.name), path) for path in (folder / "checkpoints").glob("round-*")]
    return dict(sorted(((int(match[1]), path) for match, path in matches if match), reverse=True))


def _pack(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    # Copies, because safetensors refuses tensors that share memory or are not contiguous.
    copies = {
        name: value.detach().to("cpu").clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
    # One entry, since safetensors writes several in an order of chance. The digest comes first, so that it
    # is the first match whatever the rest holds.
    entry = {"digest": _BLANK, "names": list(tensors), **about}
    text = json.dumps(entry, allow_nan=False, separators=(",", ":"))
    try:
        data = safetensors.torch.save(copies, {"accord": text})
    except SafetensorError as error:
        raise ValueError(f"cannot be saved as safetensors: {error}") from error
    return data.replace(_BLANK.encode(), _digest(data).encode(), 1)


def _unpack(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the tensors and the metadata given to `_pack`, which is empty in a file written by another program."""
    match = _DIGEST.search(data)
    if match and match[1].decode() != _digest(data, *match.span(1)):
        raise ValueError("its contents do not match its digest")
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if not match:
        return tensors, {}
    # A safetensors file starts with the length of its JSON header, 8 bytes in little-endian order.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    about: dict[str, Any] = json.loads(header["__metadata__"]["accord"])
    return {name: tensors[name] for name in about["names"]}, about


def _digest(data: bytes, start: int = 0, end: int = 0) -> str:
    """Computes the digest of `data` with the digest itself, at `start:end`, blanked out."""
    view = memoryview(data)
    digest = hashlib.blake2b(view[:start], digest_size=16)
    digest.update(_BLANK[: end - start].encode())
    digest.update(view[end:])
    return digest.hexdigest()
