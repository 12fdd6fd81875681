"""A site's journal: what was asked and what was done, one line each, in a chain of hashes that only grows.

Each line covers the hash of the line before it. The newest line is also kept, signed, in a file beside the database,
and the coordinator's newest countersignature in another: so `verify` finds a line that was changed or removed, a
journal that was cut short, and a database that was put back to an older state.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import AccordError, FederationError
from accord.transport.identity import write_durably
from accord.transport.keys import valid, verify
from accord.transport.messages import Receipt, Signed, canonical, from_json

TABLES = """
CREATE TABLE IF NOT EXISTS journal(
    number INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, before TEXT NOT NULL,
    hash TEXT NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS journal_is_not_changed BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is never changed'); END;
CREATE TRIGGER IF NOT EXISTS journal_is_not_cut BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is never cut'); END;
"""
START = ""
"""The hash before the first line."""


@dataclass(frozen=True)
class Line:
    """A line of the journal.

    Attributes:
        number: counted from 1.
        at: when, ISO 8601 in UTC.
        kind: `begin`, `answer`, `refusal`, `acknowledge`, `policy`, `decision`, `start`.
        body: what happened, in canonical JSON.
        before: hash of the line before it.
    """

    number: int
    at: str
    kind: str
    body: str
    before: str

    @property
    def hash(self) -> str:
        """Covers the line and, by `before`, everything before it."""
        return sha256(canonical([self.number, self.at, self.kind, self.body, self.before])).hexdigest()

    @property
    def values(self) -> dict[str, Any]:
        """The body as JSON-ready values."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def append(database: sqlite3.Connection, kind: str, body: Mapping[str, Any]) -> Line:
    """Appends a line, inside of the caller's transaction."""
    row = database.execute("SELECT number, hash FROM journal ORDER BY number DESC LIMIT 1").fetchone()
    number, before = row if row is not None else (0, START)
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    line = Line(number + 1, at, kind, canonical(body).decode(), before)
    database.execute(
        "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", (line.number, at, kind, line.body, before, line.hash)
    )
    return line


def lines(database: sqlite3.Connection) -> Iterator[tuple[Line, str]]:
    """Yields every line with the hash that stands beside it."""
    for row in database.execute("SELECT number, at, kind, body, before, hash FROM journal ORDER BY number"):
        yield Line(*row[:5]), row[5]


def write_head(path: Path, key: Ed25519PrivateKey, site: str, number: int, digest: str) -> None:
    """Writes the newest line's number and hash, signed."""
    content = _head_bytes(site, number, digest)
    head = {"site": site, "number": number, "hash": digest, "signature": key.sign(content).hex()}
    write_durably(path, json.dumps(head).encode() + b"\n", 0o600)


def read_head(path: Path, public: str, site: str) -> tuple[int, str]:
    """Reads the newest line's number and hash. There is none before the first line.

    Raises:
        FederationError: the file is damaged, or not signed by the site's key.
    """
    if not path.is_file():
        return 0, START
    try:
        head = json.loads(path.read_text())
        number, digest = int(head["number"]), str(head["hash"])
        signature = str(head["signature"])
    except (ValueError, KeyError, TypeError) as error:
        raise FederationError(f"{path}: damaged, so that it cannot tell whether the journal was cut") from error
    if not valid(public, signature, _head_bytes(site, number, digest)):
        raise FederationError(f"{path}: not signed by this site's key; it was changed or is another site's")
    return number, digest


def _head_bytes(site: str, number: int, digest: str) -> bytes:
    return b"accord journal\n" + canonical([site, number, digest])


def check_chain(found: Iterator[tuple[Line, str]]) -> dict[int, str]:
    """Checks that each line follows on the one before it, and returns the hashes by number.

    Raises:
        FederationError: names the first line that does not.
    """
    before, hashes = START, {0: START}
    for expected, (line, stated) in enumerate(found, start=1):
        if line.number != expected:
            raise FederationError(f"journal: line {expected} is missing")
        if line.before != before or line.hash != stated:
            raise FederationError(f"journal: line {expected} was changed, or one before it was")
        before = hashes[expected] = stated
    return hashes


def check_head(hashes: Mapping[int, str], number: int, digest: str, whose: str) -> None:
    """Checks that a journal still has what someone noted of it.

    Raises:
        FederationError: it was cut or put back to an older state, or another journal took its place.
    """
    if number not in hashes:
        raise FederationError(
            f"journal: {whose} knows line {number}, but it ends at {max(hashes)}: it was cut, or an older copy of the "
            "database was put back"
        )
    if hashes[number] != digest:
        raise FederationError(f"journal: {whose} knows another line {number}: lines were rewritten")


def read_receipt(path: Path, coordinator: str) -> Signed[Receipt] | None:
    """Reads the coordinator's newest countersignature, or None where there is none yet.

    Raises:
        FederationError: it is damaged, or not signed by the coordinator.
    """
    if not path.is_file():
        return None
    try:
        receipt = from_json(json.loads(path.read_text()), Receipt)
        verify(receipt, coordinator, "coordinator")
    except (ValueError, AccordError) as error:
        raise FederationError(f"{path}: not what the coordinator signed: {error}") from error
    return receipt
