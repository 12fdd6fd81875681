"""Loads pretrained weights from a local safetensors file."""

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from accord.core.errors import StudyError

_COUNTER = "num_batches_tracked"
"""Batch norm's counter, which nothing here reads."""


def pin(path: str | None, sha256: str | None) -> dict[str, str]:
    """Returns the digest of a pretrained file, as settings of the resolved study.

    Args:
        path: `model.pretrained`. None gives no settings.
        sha256: `model.pretrained_sha256`, which the file must match where it is given.

    Raises:
        StudyError: the file cannot be read, or is another one.
    """
    if path is None:
        return {}
    content = _read(path, sha256)
    return {"pretrained_sha256": hashlib.sha256(content).hexdigest()}


def load_weights(model: nn.Module, path: str, sha256: str | None = None, leave: Sequence[str] = ()) -> None:
    """Sets the network's parameters and buffers to those of a file.

    Args:
        model: the network, which is changed in place.
        path: a safetensors file with the network's names and shapes, in floating point of any width.
        sha256: the digest it must have. None accepts any.
        leave: names, with wildcards as in a shell, that are neither required of the file nor taken from it.

    Raises:
        StudyError: there is no such file, its digest differs, or it is no safetensors file. Or a name is missing or too
            many, or a shape differs, where the message has the first of them and the nearest name. Or a pattern matches
            nothing, or a value is not finite.
    """
    tensors = _tensors(path, sha256)
    # Without buffers that are not persistent, which no file contains.
    known = model.state_dict()
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for pattern in leave:
        if not any(fnmatchcase(name, pattern) for name in [*known, *tensors]):
            raise StudyError(
                f"model.pretrained_except: {pattern!r} matches no parameter of the network or of {path} "
                f"(the network has: {', '.join(own)})"
            )
    wanted = {name: value for name, value in own.items() if name in known and not _left(name, leave)}
    for name, value in wanted.items():
        _check(name, value, tensors, path)
    for name in tensors:
        if name not in known and not _left(name, leave):
            hint = "; merge its LoRA factors first, by accord.models.lora.merge" if "lora_" in name else ""
            raise StudyError(
                f"model.pretrained: {path} has {name!r}, which the network has not{hint}"
                f"{_nearest(name, known)}; or leave it out by model.pretrained_except"
            )
    # Everything is checked before anything is copied, so that a refusal leaves the network unchanged.
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(tensors[name])


def _read(path: str, sha256: str | None) -> bytes:
    try:
        content = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise StudyError(f"model.pretrained: {path} cannot be read ({error.strerror}); name a safetensors file") from (
            error
        )
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise StudyError(
            f"model.pretrained: {path} has SHA-256 {digest[:12]}..., but the study wants {sha256[:12]}...; "
            "put back the file it was made with, or start a new run without pretrained_sha256"
        )
    return content


def _tensors(path: str, sha256: str | None) -> dict[str, Tensor]:
    content = _read(path, sha256)
    try:
        # From the bytes whose digest was checked. Reading the file again could give another one.
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise StudyError(
            f"model.pretrained: {path} is no whole safetensors file ({' '.join(str(error).split())}); "
            "write weights by safetensors.torch.save_file"
        ) from error


def _left(name: str, leave: Sequence[str]) -> bool:
    return name.rpartition(".")[2] == _COUNTER or any(fnmatchcase(name, pattern) for pattern in leave)


def _check(name: str, value: Tensor, tensors: Mapping[str, Tensor], path: str) -> None:
    """Refuses a file without a fitting value for the network's `name`."""
    found = tensors.get(name)
    if found is None:
        raise StudyError(
            f"model.pretrained: {path} has no {name!r}, which the network has{_nearest(name, tensors)}; "
            "or keep it as drawn by model.pretrained_except"
        )
    if found.shape != value.shape:
        raise StudyError(
            f"model.pretrained: {name!r} is {_shape(found)} in {path}, but {_shape(value)} in the network; change the "
            "model's settings, or keep it as drawn by model.pretrained_except"
        )
    # One NaN would spread to every output.
    if not found.is_floating_point() or not bool(found.isfinite().all()):
        raise StudyError(f"model.pretrained: {name!r} in {path} does not hold finite floating-point numbers")


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a single number"


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.0)
    return f" (nearest: {near[0]!r})" if near else ""
