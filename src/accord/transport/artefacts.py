"""Artefacts: tensors by their SHA-256, as safetensors files, checked before they are believed.

An artefact arrives in pieces, each at the offset where the last one ended, so that a broken upload goes on. It exists
once all of it is there, has the digest it was announced with, and is safetensors. Only then may a message name it.
"""

import fcntl
import json
import os
import re
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import file_digest, sha256
from math import prod
from pathlib import Path
from shutil import disk_usage
from typing import Any

from accord.core.errors import MessageError, StorageError
from accord.transport.identity import sync_folder, write_durably

MOST_BYTES = 2**31
"""Bytes of an artefact, at most. Half a billion float32 parameters."""
LEAST_FREE = 2**28
"""Bytes that stay free on the disk, so that the tables can still be written."""
_MOST_HEADER = 2**23
_MOST_EXTENT = 2**48
_MOST_DIMENSIONS = 32
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
        header = json.loads(head[8 : 8 + length], object_pairs_hook=_unique)
        spans = sorted(_span(value) for name, value in header.items() if name != "__metadata__")
        notes = header.get("__metadata__", {})
        if not all(isinstance(text, str) for text in notes.values()):
            raise ValueError("notes are texts")
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise MessageError("not safetensors: the header is no table of tensors") from error
    end = 0
    for begin, stop in spans:
        if begin != end:
            raise MessageError("not safetensors: tensors overlap, or leave gaps")
        end = stop
    if 8 + length + end != size:
        raise MessageError(f"not safetensors: {8 + length + end:,} bytes described, {size:,} there")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses an object with two keys alike, of which two readers may take different ones."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("two keys alike")
    return found


def _span(tensor: dict[str, Any]) -> tuple[int, int]:
    """Returns where a tensor begins and ends, which must be its shape's size."""
    begin, end = tensor["data_offsets"]
    shape = tensor["shape"]
    # Bounded, since a product of a million numbers of a thousand digits takes hours.
    if len(tensor) != 3 or type(shape) is not list or len(shape) > _MOST_DIMENSIONS:
        raise ValueError("no tensor")
    if not all(type(number) is int and 0 <= number <= _MOST_EXTENT for number in (begin, end, *shape)):
        raise ValueError("no counts")
    if end - begin != prod(shape) * _SIZES[tensor["dtype"]]:
        raise ValueError("not of its shape's size")
    return begin, end


class ArtefactStore:
    """Artefacts in a folder.

    Args:
        folder: where they are.
        most_bytes: of one artefact.
        least_free: bytes that stay free on the disk. What would leave fewer is refused.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES, least_free: int = LEAST_FREE) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self.least_free = least_free
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
            StorageError: the disk is full.
        """
        self.check(content)
        digest = sha256(content).hexdigest()
        if digest in self:
            # Wanted again, so that `sweep` leaves it.
            os.utime(self.path(digest))
        else:
            self.check_room(len(content))
            write_durably(self.path(digest), content)
        return digest

    def check(self, content: bytes) -> None:
        """Checks an artefact that is whole.

        Raises:
            MessageError: it is too large, or not safetensors.
        """
        if len(content) > self.most_bytes:
            raise MessageError(f"an artefact of {len(content):,} bytes is larger than {self.most_bytes:,}")
        # A view, since a copy of what is no header takes longer than its check.
        check_safetensors(bytes(memoryview(content)[: _MOST_HEADER + 8]), len(content))

    def received(self, digest: str, member: str) -> int:
        """Returns how many bytes of a member's upload have arrived, so that it can go on from there."""
        part = self._part(digest, member)
        return part.stat().st_size if part.is_file() else 0

    def begun(self, member: str) -> int:
        """Returns the bytes of all uploads of a member that are not whole yet."""
        total = 0
        for path in self.folder.glob(f"*.{member}.part"):
            # The last piece may arrive at the same time.
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def append(self, digest: str, member: str, offset: int, piece: bytes, total: int) -> tuple[int, bool]:
        """Adds a member's piece where it begins at what has arrived. Returns how many bytes have, and if that is all.

        A piece that begins elsewhere is left out, since it may have been sent twice. Each member's pieces are apart, so
        that no one can spoil another's upload, or learn by sending the first piece whether another has sent the whole.

        Raises:
            MessageError: it is too large, or the whole is not what was announced. What arrived is then deleted.
            StorageError: the disk is full.
        """
        self.check_announced(offset + len(piece), total)
        self.check_room(total - offset)
        part = self._part(digest, member)
        with part.open("ab") as file:
            # A piece that is sent again may come while the first one is being written.
            fcntl.flock(file, fcntl.LOCK_EX)
            there = os.fstat(file.fileno()).st_size
            if offset != there:
                return there, False
            file.write(piece)
            file.flush()
            if offset + len(piece) == total:
                self._admit(part, digest, total)
        return offset + len(piece), offset + len(piece) == total

    def check_announced(self, end: int, total: int) -> None:
        """Checks the announced size of an artefact, and that a piece ends within it.

        Raises:
            MessageError: it is none that is taken.
        """
        if not 0 < total <= self.most_bytes or end > total:
            raise MessageError(f"an artefact of {total:,} bytes is larger than {self.most_bytes:,}, or than announced")

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
        sync_folder(self.folder)

    def check_room(self, wanted: int) -> int:
        """Returns how many bytes the disk has left for artefacts.

        Raises:
            StorageError: fewer than are wanted.
        """
        free = disk_usage(self.folder).free
        if free - wanted < self.least_free:
            raise StorageError(f"the disk has {free:,} bytes left, too few for an artefact of {wanted:,}; make room")
        return free - self.least_free

    def piece(self, digest: str, offset: int, most: int) -> tuple[bytes, int]:
        """Returns a piece of an artefact and the artefact's size.

        Raises:
            MessageError: there is none of this digest, or it ends before `offset`.
        """
        try:
            with self.path(digest).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if not 0 <= offset < size:
                    raise MessageError(f"artefact {digest[:12]}: no byte {offset:,} among its {size:,}")
                file.seek(offset)
                return file.read(most), size
        except OSError as error:
            raise MessageError(f"artefact {digest[:12]}: {error.strerror}") from error

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

    def sweep(self, named: Callable[[str], bool], older_s: float) -> int:
        """Deletes artefacts that nothing names and uploads that were given up. Returns how many files.

        Args:
            named: whether a digest is still named.
            older_s: seconds since a file's last change, before which it is left: it may be named yet.
        """
        deleted, before = 0, time.time() - older_s
        for path in list(self.folder.iterdir()):
            # Another may have deleted it in the meantime.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before and not (_DIGEST.fullmatch(path.name) and named(path.name)):
                    path.unlink()
                    deleted += 1
        return deleted

    def _part(self, digest: str, member: str) -> Path:
        return self.folder / f"{check_digest(digest)}.{member}.part"
