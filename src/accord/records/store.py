"""Files that survive a kill and a full disk.

Append-only files have one JSON object per line. A line counts once its newline is on the disk. Whole files are
written under a temporary name and then renamed. At any moment every file is therefore absent or whole, except that
an append-only file may end in a torn line, which readers leave out.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOTSUP
from io import FileIO
from pathlib import Path
from typing import Any

from accord.core.errors import RunFolderError, StorageError

_LOCK = ".lock"


def check_folder(path: Path) -> None:
    """Refuses a run folder that is not empty. Creates nothing.

    Raises:
        RunFolderError: the path is a file, a folder that is not empty, or a folder that cannot be listed.
    """
    try:
        occupied = path.exists() and any(entry.name != _LOCK for entry in path.iterdir())
    except NotADirectoryError as error:
        raise RunFolderError(f"run folder {path} exists and is not a folder; choose another with --out") from error
    except OSError as error:
        raise RunFolderError(
            f"run folder {path} cannot be used ({error.strerror}); choose another with --out"
        ) from error
    if occupied:
        raise RunFolderError(
            f"run folder {path} exists and is not empty; "
            "choose another with --out, or continue the run in it with --resume"
        )


def create_folder(path: Path) -> Path:
    """Creates the run folder and its parents. An existing empty folder is accepted.

    Raises:
        RunFolderError: the folder exists and is not empty, or it cannot be created or written to.
    """
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"run folder {path} cannot be made ({error.strerror}); choose another with --out"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise RunFolderError(f"run folder {path} cannot be written to; choose another with --out")
    return path


def make_new_folder(path: Path) -> bool:
    """Creates a folder and its parents, in one step that only one of two competing processes can win.

    Returns:
        Whether the folder was created. False if it exists already.

    Raises:
        RunFolderError: it cannot be created.
    """
    try:
        path.mkdir(parents=True)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        raise RunFolderError(
            f"run folder {path} cannot be made ({error.strerror}); choose another with --out"
        ) from error


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Locks the run folder for this process. The system releases the lock when the process ends, however it ends.

    Raises:
        RunFolderError: another process has locked it, or its file system has no locks or refuses them.
    """
    try:
        file = (folder / _LOCK).open("w")
    except OSError as error:
        raise RunFolderError(
            f"run folder {folder} cannot be locked ({error.strerror}); mend its permissions or the disk, or choose "
            "another with --out"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(f"run folder {folder} is in use by another process; wait for it to end") from error
        except OSError as error:
            raise RunFolderError(
                f"run folder {folder} cannot be locked ({error.strerror}); choose one on a file system with locks"
            ) from error
        # Outside of every `try`: an OSError of what runs under the lock, such as a caller's own, is not the lock's.
        yield


def is_locked(folder: Path) -> bool:
    """Whether another process has locked the run folder now."""
    try:
        with (folder / _LOCK).open() as file:
            # Shared, so that two processes that only look do not report each other as the owner.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # no lock file, or a file system without locks


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turns the operating system's errors while `path` is written into one-line `StorageError`s."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror or error}); what was written before is readable; "
            "make room or mend the disk, then continue with --resume"
        ) from error


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Appends one JSON object as a line and syncs it to disk. Creates the file if it is missing.

    Raises:
        StorageError: the disk is full or refuses. The file is as it was before.
        ValueError: `value` contains NaN or an infinity, which JSON cannot represent.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "rounds.jsonl")
    ...     append_line(path, {"round": 1})
    ...     append_line(path, {"round": 2})
    ...     read_lines(path)
    [{'round': 1}, {'round': 2}]
    """
    line = json.dumps(dict(value), allow_nan=False, separators=(",", ":")).encode() + b"\n"
    with storing(path), path.open("a+b", buffering=0) as file:
        _truncate_torn_tail(path, file)
        _append(path, file, line)


def append_bytes(path: Path, data: bytes) -> None:
    """Appends bytes to a file, all of them or none. Apart from that it works like `append_line`."""
    with storing(path), path.open("ab", buffering=0) as file:
        _append(path, file, data)


def read_lines(path: Path, *, strict: bool = False) -> list[dict[str, Any]]:
    """Reads the records of an append-only file, without a torn last line. Returns none if the file is missing.

    Args:
        path: the file.
        strict: whether only a last line without its newline counts as torn. A file with other contents is then not
            mistaken for an append-only file.

    Raises:
        RunFolderError: the file cannot be read, or a line before the last is not a JSON object. With `strict`, also if
            the last line ends in a newline and is not a JSON object.
    """
    return [value for _, value in _complete_lines(path, strict)]


def keep_lines(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Drops the records for which `keep` is false, and a torn last line. The bytes of all other lines are unchanged.

    A resumed run calls this to go back to its checkpoint. The change is atomic. A kill leaves the old file or the new
    one.

    Raises:
        RunFolderError: as `read_lines`.
        StorageError: as `write_bytes`.
    """
    if path.exists():
        lines = b"".join(line for line, value in _complete_lines(path) if keep(value))
        if len(lines) != path.stat().st_size:
            write_bytes(path, lines)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes one JSON object as a whole file, indented for people. See `write_bytes`.

    Raises:
        StorageError: as `write_bytes`.
        ValueError: `value` contains NaN or an infinity, which JSON cannot represent.
    """
    write_text(path, json.dumps(dict(value), allow_nan=False, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads the JSON object that `write_json` wrote.

    Raises:
        RunFolderError: the file is missing, cannot be read, or is not a JSON object.
    """
    try:
        value = _record(path.read_bytes())
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror}); name a run folder that holds it") from error
    if value is None:
        raise RunFolderError(f"{path}: not a JSON object; the file was damaged after it was written")
    return value


def write_text(path: Path, text: str) -> None:
    """Writes a whole file of UTF-8 text. See `write_bytes`."""
    # A study's file name may contain bytes that are not text. A report must not fail because of it after the training.
    write_bytes(path, text.encode(errors="replace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file atomically and syncs it to disk. Readers see the old file or the new one, never a part.

    Raises:
        StorageError: the disk is full or refuses. The old file, if any, is as it was.
    """
    # One name for each file, so that what a kill leaves behind is overwritten by the next attempt.
    part = path.with_name(f".{path.name}.part")
    with storing(path):
        try:
            with part.open("wb", buffering=0) as file:
                _write_all(file, data)
                # The contents must be on the disk before the rename. Otherwise a power cut could leave the new name on
                # an empty file.
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        # The rename itself is durable only once the folder is synced.
        _sync_folder(path.parent)


def _append(path: Path, file: FileIO, data: bytes) -> None:
    """Appends `data`, or restores the file's old length whatever happens, Ctrl-C included."""
    length = file.seek(0, os.SEEK_END)
    try:
        _write_all(file, data)
        os.fsync(file.fileno())
        # A new file also needs its name on the disk; an old one has it already.
        if length == 0:
            _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            file.truncate(length)
        raise


def _write_all(file: FileIO, data: bytes) -> None:
    # Unbuffered on purpose: a buffered file keeps what a full disk refused and tries again when closed.
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _truncate_torn_tail(path: Path, file: FileIO) -> None:
    """Drops what follows the last newline, so that the next line is not joined to it."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.truncate(path.read_bytes().rfind(b"\n") + 1)


def _sync_folder(folder: Path) -> None:
    """Syncs the names in a folder to disk, where the file system supports it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (EINVAL, ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _complete_lines(path: Path, strict: bool = False) -> list[tuple[bytes, dict[str, Any]]]:
    """Returns each whole line, newline included, with its record."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror}); mend the disk or its permissions") from error
    *lines, tail = data.split(b"\n")
    complete = []
    for number, line in enumerate(lines, start=1):
        value = _record(line)
        if value is not None:
            complete.append((line + b"\n", value))
        # Only the very last line may be torn: `tail` is what follows the last newline, empty in a whole file.
        elif strict or number < len(lines) or tail:
            raise RunFolderError(
                f"{path}, line {number}: not a JSON object; the file was damaged after it was written, "
                "restore it from a copy"
            )
    return complete


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
