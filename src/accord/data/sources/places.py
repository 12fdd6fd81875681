"""Finds a data set's files, and says how to get them when they are not found.

Where the study names a folder, only that one is searched. Otherwise folders are tried in this order:
`$ACCORD_DATA/<name>/`, `$ACCORD_DATA` itself, the folder of Debian's package where there is one, and the user's cache
(`$XDG_CACHE_HOME` or `~/.cache`, then `accord/<name>/`). The first folder that has every file is used, so files are
never mixed from two folders. Each file may be gzipped or not.
"""

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from accord.core.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Origin:
    """The files of a data set and where to get them.

    Attributes:
        name: as in the study file. It is also the folder's name.
        files: the files' names without `.gz`.
        page: the public page to download them from.
        debian_package: Debian's package with the same files, if any.
        debian_folder: where that package puts them.
    """

    name: str
    files: tuple[str, ...]
    page: str
    debian_package: str | None = None
    debian_folder: Path | None = None


def usual_folders(origin: Origin) -> list[Path]:
    """Returns the folders searched when the study names none, in order."""
    folders = []
    if shared := os.environ.get("ACCORD_DATA"):
        folders += [Path(shared).expanduser() / origin.name, Path(shared).expanduser()]
    if origin.debian_folder is not None:
        folders.append(origin.debian_folder)
    return [*folders, cache_folder() / origin.name]


def cache_folder() -> Path:
    """Returns the user's cache of Accord, `$XDG_CACHE_HOME/accord` or `~/.cache/accord`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "accord"


def find(origin: Origin, path: str | None) -> dict[str, Path]:
    """Finds the data set's files, all in one folder.

    Args:
        origin: which files.
        path: the study's `data.path`. None looks in the usual folders.

    Returns:
        Name without `.gz` to the file found. A plain file is preferred to a gzipped one.

    Raises:
        DataError: a file is missing. The message says how to get it and where to put it.
    """
    if path is not None:
        folder = Path(path).expanduser()
        found = _cached(origin, folder)
        if missing := _missing(origin, found):
            state = f"has no {missing[0]} (or {missing[0]}.gz)" if folder.is_dir() else "is not a folder"
            raise DataError(f"data.path: {folder} {state}; it must hold {', '.join(origin.files)}")
        return found
    folders = usual_folders(origin)
    partial = ""
    for folder in folders:
        found = _cached(origin, folder)
        missing = _missing(origin, found)
        if not missing:
            return found
        # Only the first folder with some of the files is named, which is the likeliest to have been meant.
        if found and not partial:
            partial = f"{folder} lacks {', '.join(missing)}; "
    raise DataError(f"data {origin.name}: {partial}{how_to_get(origin)}")


def how_to_get(origin: Origin) -> str:
    """Returns one line on which files to get, from where, and where to put them."""
    packaged = f"or run `apt install {origin.debian_package}`, " if origin.debian_package else ""
    return (
        f"get {', '.join(origin.files)} (.gz or not) from {origin.page} and put them in "
        f"{cache_folder() / origin.name}, {packaged}or set ACCORD_DATA to a folder that holds {origin.name}/, "
        "or set data.path"
    )


def _cached(origin: Origin, folder: Path) -> dict[str, Path]:
    found = {}
    for file in origin.files:
        # The plain file first: it needs no unpacking.
        for candidate in (folder / file, folder / f"{file}.gz"):
            if _is_file(candidate):
                found[file] = candidate
                break
    return found


def _missing(origin: Origin, found: dict[str, Path]) -> list[str]:
    return [file for file in origin.files if file not in found]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be searched is a folder without the file
        return False


def read_bytes(path: Path) -> bytes:
    """Returns the file's content, unpacked where its first two bytes (not its name) say that it is gzipped.

    Raises:
        DataError: the file cannot be read, or is a damaged or truncated gzip file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from error
    # By content, since browsers unpack downloads and keep the name.
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: damaged or truncated gzip file ({error}); fetch it again") from error
