"""Artefacts: tensors by their SHA-256, as safetensors files, checked before they are believed.

An artefact arrives in pieces, each at the offset where the last one ended, so that a broken upload goes on. It exists
once all of it is there, has the digest it was announced with, and is safetensors. Only then may a message name it.
"""

import json
import os
import re
import struct
from collections.abc import Iterator
from hashlib import file_digest, sha256
from pathlib import Path

from accord.core.errors import MessageError
from accord.transport.identity import write_durably

MOST_BYTES = 2**31
"""Bytes of an artefact, at most. Half a billion float32 parameters."""
_MOST_HEADER = 2**23
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


def check_digest(digest: str) -> str:
    """Returns a digest that is one, so that it can be a file's name.

    Raises:
        MessageError: it is not 64 hexadecimal digits.
    """
    if not _DIGEST.fullmatch(digest):
        raise MessageError(f"{digest[:70]!r} is no SHA-256")
    return digest


def check_safetensors(head: bytes, size: int) -> None:
    """Checks that a file is safetensors by its header alone. Nothing is allocated beyond that header.

    Args:
        head: the file's first bytes, up to and including the header.
        size: bytes of the whole file.

    Raises:
        MessageError: it is something else, or its tensors overlap, leave gaps, or lie outside of the file.
    """
    if len(head) < 8:
        raise MessageError("not safetensors: shorter than a header")
    (length,) = struct.unpack("<Q", head[:8])
    if length > _MOST_HEADER or 8 + length > size:
        raise MessageError(f"not safetensors: a header of {length:,} bytes in a file of {size:,}")
    try:
        header = json.loads(head[8 : 8 + length])
        tensors = {name: value for name, value in header.items() if name != "__metadata__"}
        spans = sorted((*value["data_offsets"], value["dtype"], value["shape"]) for value in tensors.values())
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise MessageError("not safetensors: the header is no table of tensors") from error
    end = 0
    for begin, stop, dtype, shape in spans:
        count = 1
        for extent in shape if isinstance(shape, list) else [-1]:
            if not isinstance(extent, int) or isinstance(extent, bool) or extent < 0:
                raise MessageError("not safetensors: a shape is no list of counts")
            count *= extent
        if begin != end or stop - begin != count * _SIZES.get(dtype, -1):
            raise MessageError("not safetensors: tensors overlap, leave gaps, or are not of their shape's size")
        end = stop
    if 8 + length + end != size:
        raise MessageError(f"not safetensors: {8 + length + end:,} bytes described, {size:,} there")


class ArtefactStore:
    """Artefacts in a folder.

    Args:
        folder: where they are.
        most_bytes: of one artefact.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def path(self, digest: str) -> Path:
        """Returns where an artefact is, or would be."""
        return self.folder / check_digest(digest)

    def put(self, content: bytes) -> str:
        """Stores an artefact that is whole, and returns its digest.

        Raises:
            MessageError: it is too large, or not safetensors.
        """
        digest = sha256(content).hexdigest()
        if len(content) > self.most_bytes:
            raise MessageError(f"an artefact of {len(content):,} bytes is larger than {self.most_bytes:,}")
        check_safetensors(content[: _MOST_HEADER + 8], len(content))
        if digest not in self:
            write_durably(self.path(digest), content)
        return digest

    def received(self, digest: str) -> int:
        """Returns how many bytes of an artefact have arrived, so that an upload can go on from there."""
        path = self.path(digest)
        if path.is_file():
            return path.stat().st_size
        part = self._part(digest)
        return part.stat().st_size if part.is_file() else 0

    def append(self, digest: str, offset: int, piece: bytes, total: int) -> bool:
        """Adds a piece, and returns whether the artefact is whole now.

        Raises:
            MessageError: the piece does not begin where the last one ended, it is too large, or the whole is not what
                was announced. What arrived is then deleted.
        """
        if digest in self:
            return True
        part = self._part(digest)
        if total > self.most_bytes or offset + len(piece) > total:
            raise MessageError(f"an artefact of {total:,} bytes is larger than {self.most_bytes:,}, or than announced")
        if offset != self.received(digest):
            raise MessageError(f"a piece begins at {offset:,}, but {self.received(digest):,} bytes are there")
        with part.open("ab") as file:
            file.write(piece)
        if offset + len(piece) < total:
            return False
        self._admit(part, digest, total)
        return True

    def _admit(self, part: Path, digest: str, total: int) -> None:
        """Makes a file that has arrived whole an artefact. It is read in pieces, whatever its size."""
        try:
            with part.open("rb") as file:
                if file_digest(file, "sha256").hexdigest() != digest:
                    raise MessageError("an artefact is not what its digest says; send it again")
                file.seek(0)
                check_safetensors(file.read(_MOST_HEADER + 8), total)
                os.fsync(file.fileno())
        except MessageError:
            part.unlink()
            raise
        part.replace(self.path(digest))

    def read(self, digest: str) -> bytes:
        """Returns an artefact.

        Raises:
            MessageError: there is none of this digest, or the file was damaged.
        """
        path = self.path(digest)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise MessageError(f"artefact {digest[:12]}: {error.strerror}") from error
        if sha256(content).hexdigest() != digest:
            raise MessageError(f"artefact {digest[:12]}: the file was damaged")
        return content

    def delete(self, digest: str) -> None:
        """Deletes an artefact, where it is there."""
        self.path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        """Yields the digests of all whole artefacts."""
        for path in self.folder.iterdir():
            if _DIGEST.fullmatch(path.name):
                yield path.name

    def _part(self, digest: str) -> Path:
        return self.folder / f"{check_digest(digest)}.part"
