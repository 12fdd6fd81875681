"""Files that a command writes for people are new: nothing of theirs is written over."""

from pathlib import Path

from accord.core.errors import DataError


def check_new(option: str, path: Path | None) -> None:
    """Refuses a file that exists, or whose folder does not.

    Raises:
        DataError: says which, and what to do.
    """
    if path is None:
        return
    if path.exists():
        raise DataError(f"{option} {path}: the file exists already; remove it, or name another")
    if not path.parent.is_dir():
        raise DataError(f"{option} {path}: there is no folder {path.parent}; make it, or name another file")
