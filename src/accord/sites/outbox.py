"""Large results of a site's answers: files beside its records, which a database would write twice and then free.

A row of the records stands for each file, by the digests of its task and its content. A file is on the disk before its
row is, and is deleted after its row says so: so a kill leaves a file too many at most, which the next start removes.
"""

import contextlib
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from accord.transport.identity import write_durably

LARGE = 2**20
"""Bytes of a result that is a file, at least."""
FILED = b"\0"
"""What a row has in the place of a result that is a file. No artefact is as short."""


def name_of(task: str, result: str) -> str:
    """Returns the name of a file, by the digests of the task and of the result."""
    return f"{task}.{result}"


def keep(folder: Path, task: str, content: bytes) -> bytes:
    """Returns what a row has of a result: itself, or `FILED` where it is a file now.

    Args:
        folder: where files are.
        task: the task's digest.
        content: the result.
    """
    if len(content) < LARGE:
        return content
    folder.mkdir(mode=0o700, exist_ok=True)
    write_durably(folder / name_of(task, sha256(content).hexdigest()), content, 0o600)
    return FILED


def read(folder: Path, task: str, result: str, stored: bytes) -> bytes:
    """Returns a result by what its row has. Empty where its file is missing or damaged."""
    if stored != FILED:
        return stored
    try:
        content = (folder / name_of(task, result)).read_bytes()
    except OSError:
        return b""
    return content if sha256(content).hexdigest() == result else b""


def drop(folder: Path, names: Iterable[str]) -> None:
    """Deletes files. What cannot be deleted is left to the next start."""
    for name in names:
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def tidy(folder: Path, kept: set[str]) -> None:
    """Deletes all files but these."""
    if folder.is_dir():
        drop(folder, [path.name for path in folder.iterdir() if path.name not in kept])
