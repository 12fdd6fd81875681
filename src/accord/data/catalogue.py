"""Lists facts of every data set a study can name, and which of their files are on this machine."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from accord.config.problems import nearest
from accord.core.errors import DataError, StudyError
from accord.data.registry import SOURCES
from accord.data.sources.base import Facts
from accord.data.sources.places import find, read_bytes


@dataclass(frozen=True)
class FoundFile:
    """A file on this machine.

    Attributes:
        file: its name without `.gz`.
        path: where it is.
        sha256: of its content, unpacked.
        published: the same checksum when the file was first published, or None where it is not known.
    """

    file: str
    path: Path
    sha256: str
    published: str | None = None


CATALOGUE: Mapping[str, Facts] = {source.facts.name: source.facts for source in SOURCES}
"""Every data set that a study can name."""


def is_found(entry: Facts) -> bool:
    """Tells whether a data set's files are on this machine. True for a data set without files."""
    if entry.origin is None:
        return True
    try:
        return bool(find(entry.origin, None))
    except DataError:
        return False


def found_files(entry: Facts, path: str | None = None) -> list[FoundFile]:
    """Returns the files of a data set on this machine, with their checksums.

    Args:
        entry: which data set.
        path: the study's `data.path`. None looks in the usual folders.

    Raises:
        DataError: a file is missing or unreadable. The message says how to get it.
    """
    if entry.origin is None:
        return []
    return [
        FoundFile(name, where, checksum(where), entry.published.get(name))
        for name, where in find(entry.origin, path).items()
    ]


def checksum(path: Path) -> str:
    """Returns the SHA-256 of a file's content, unpacked where it is gzipped, so that packing makes no difference.

    Raises:
        DataError: the file cannot be read.
    """
    return hashlib.sha256(read_bytes(path)).hexdigest()


def entry_named(name: str) -> Facts:
    """Returns the entry of a data set.

    Raises:
        StudyError: there is none of that name. The message has the nearest.
    """
    if name not in CATALOGUE:
        raise StudyError(f"unknown data {name!r}{nearest(name, CATALOGUE)} (one of: {', '.join(CATALOGUE)})")
    return CATALOGUE[name]
