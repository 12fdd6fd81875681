"""The hash chain of a joint ledger, in which each line contains the digest of the line before it.

The digest of a line covers the line and, through the digest it contains, all lines before it (Haber and Stornetta 1991,
"How to Time-Stamp a Digital Document"). A changed, missing, added or moved line breaks the chain at the next one. The
digest of the last line is the chain's head, and identifies the whole contents of the file.

The chain uses no secret key. Two changes show only against a head that was saved elsewhere, such as in a run's folder.
One is that lines at the very end are missing. The other is that the whole file was rewritten with digests that fit.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from accord.core.errors import PrivacyError

BEFORE = "before"
"""A line's key for the digest of the line before it."""
START = ""
"""The head of an empty file."""


def link(line: Mapping[str, Any], head: str) -> dict[str, Any]:
    """The line with the current head added, ready to be written."""
    return {**line, BEFORE: head}


def digest(linked: Mapping[str, Any]) -> str:
    """The head after a line, in hexadecimal.

    >>> one = link({"run": "a"}, START)
    >>> digest(link({"run": "b"}, digest(one))) == digest(link({"run": "b"}, START))
    False
    """
    # Sorted keys, so that the digest depends on the content of the line and not on the order of its keys.
    return hashlib.blake2b(json.dumps(linked, sort_keys=True).encode(), digest_size=16).hexdigest()


def follow(lines: Iterable[Mapping[str, Any]], source: str) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Checks a chain from its first line to its last.

    Args:
        lines: the lines of the file, in order.
        source: name of the file in error messages.

    Returns:
        The lines without their digests, and the head after each.

    Raises:
        PrivacyError: a line does not continue the chain. The message names the line.
    """
    plain: list[dict[str, Any]] = []
    heads: list[str] = []
    for number, line in enumerate(lines, start=1):
        if BEFORE not in line:
            raise PrivacyError(
                f"ledger {source}, line {number}: has no digest of what stands before it, so nobody can tell whether "
                "lines are missing; files from before version 0.2 have none: put back the file, or begin another "
                "and add what this one came to"
            )
        if line[BEFORE] != (heads[-1] if heads else START):
            raise PrivacyError(
                f"ledger {source}, line {number}: broken chain: does not follow on what stands before it, where a "
                "line was changed, lost or added; put back the file as it was"
            )
        heads.append(digest(line))
        plain.append({key: value for key, value in line.items() if key != BEFORE})
    return plain, tuple(heads)
