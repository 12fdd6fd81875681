"""A site's journal: what was asked and what was done, one line each, in a chain of hashes that only grows.

Each line covers the hash of the line before it, and is signed with the site's key. The newest line is also kept in a
file beside the database, and the coordinator's newest countersignature in another: so `verify` finds a line that was
changed, removed or added by another, a journal that was cut short, and a database that was put back to an older state.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import AccordError, FederationError
from accord.transport.keys import valid, verify
from accord.transport.messages import Receipt, Signed, canonical, from_json

TABLES = """
CREATE TABLE IF NOT EXISTS journal(
    number INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, before TEXT NOT NULL,
    hash TEXT NOT NULL, signature TEXT NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS journal_is_not_changed BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is never changed'); END;
CREATE TRIGGER IF NOT EXISTS journal_is_not_cut BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is never cut'); END;
CREATE INDEX IF NOT EXISTS journal_of_decisions ON journal(number) WHERE kind = 'decision';
"""
START = ""
"""The hash before the first line."""


@dataclass(frozen=True)
class Author:
    """Who writes a journal.

    Attributes:
        site: the site.
        key: its key.
    """

    site: str
    key: Ed25519PrivateKey


@dataclass(frozen=True)
class Line:
    """A line of the journal.

    Attributes:
        number: counted from 1.
        at: when, ISO 8601 in UTC.
        kind: `begin`, `answer`, `refusal`, `policy`, `decision`, `data`, `start`, `key`.
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


@dataclass(frozen=True)
class Stored:
    """A line as it stands in a database or an export.

    Attributes:
        line: the line.
        hash: what is stated as its hash.
        signature: the site's, over that hash, in hexadecimal.
    """

    line: Line
    hash: str
    signature: str


def append(
    database: sqlite3.Connection, author: Author, kind: str, body: Mapping[str, Any], now: datetime | None = None
) -> Line:
    """Appends a line, inside of the caller's transaction."""
    row = database.execute("SELECT number, hash, at FROM journal ORDER BY number DESC LIMIT 1").fetchone()
    number, before, last = row if row is not None else (0, START, "")
    # Never before the line above: a clock that is set back must not open a month again that was spent.
    at = max(last, (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    line = Line(number + 1, at, kind, canonical(body).decode(), before)
    signature = author.key.sign(_line_bytes(author.site, line.hash)).hex()
    database.execute(
        "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?)",
        (line.number, at, kind, line.body, before, line.hash, signature),
    )
    return line


def lines(database: sqlite3.Connection) -> Iterator[Stored]:
    """Yields every line as it stands."""
    query = "SELECT number, at, kind, body, before, hash, signature FROM journal ORDER BY number"
    for row in database.execute(query):
        yield Stored(Line(*row[:5]), row[5], row[6])


def _line_bytes(site: str, digest: str) -> bytes:
    return b"accord journal line\n" + canonical([site, digest])


def write_head(path: Path, author: Author, number: int, digest: str) -> None:
    """Writes the newest line's number and hash, signed."""
    signature = author.key.sign(_head_bytes(author.site, number, digest)).hex()
    write_evidence(path, {"site": author.site, "number": number, "hash": digest, "signature": signature})


_BLOCK = 512


def write_evidence(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a small JSON file over the one that is there, in one piece of whole blocks and without a sync.

    What it tells of is on the disk already. A power cut may leave the file as it was some lines ago, which is no fault,
    and saves each line the time of two syncs.
    """
    content = json.dumps(value).encode()
    content += b" " * (-(len(content) + 1) % _BLOCK) + b"\n"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(handle, content, 0)
        if os.fstat(handle).st_size > len(content):
            os.ftruncate(handle, len(content))
    finally:
        os.close(handle)


def read_head(path: Path) -> Any:
    """Reads the newest line's number and hash as they stand there. None where there is no file.

    It is read before the journal is, which may be a line ahead of it and never behind.

    Raises:
        FederationError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise FederationError(f"{path}: damaged, so that it cannot tell whether the journal was cut") from error


def parse_head(head: Any, keys: Iterable[str], site: str) -> tuple[int, str]:
    """Returns the number and hash of a head. Without one they are those before the first line.

    Args:
        head: as `read_head` returns it.
        keys: the site's key, and those that it had before.
        site: the site.

    Raises:
        FederationError: it is damaged, or not signed by the site's key.
    """
    if head is None:
        return 0, START
    try:
        number, digest, signature = int(head["number"]), str(head["hash"]), str(head["signature"])
    except (ValueError, KeyError, TypeError) as error:
        raise FederationError("head: damaged, so that it cannot tell whether the journal was cut") from error
    if not any(valid(key, signature, _head_bytes(site, number, digest)) for key in keys):
        raise FederationError("head: not signed by this site's key; it was changed or is another site's")
    return number, digest


def _head_bytes(site: str, number: int, digest: str) -> bytes:
    return b"accord journal\n" + canonical([site, number, digest])


def check_chain(found: Iterable[Stored]) -> dict[int, str]:
    """Checks that each line follows on the one before it, and returns the hashes by number.

    Raises:
        FederationError: names the first line that does not.
    """
    before, last, hashes = START, "", {0: START}
    for expected, stored in enumerate(found, start=1):
        line = stored.line
        if line.number != expected:
            raise FederationError(f"journal: line {expected} is missing")
        if line.before != before or line.hash != stored.hash or line.at < last:
            raise FederationError(f"journal: line {expected} was changed, or one before it was")
        before = hashes[expected] = stored.hash
        last = line.at
    return hashes


def keys_of(found: Iterable[Stored], public: str) -> tuple[tuple[int, str], ...]:
    """Returns the keys that a site had, each with the number of the first line that it signs.

    A line of kind `key` hands over from one to the next, and is signed with the one before.

    Args:
        found: the journal.
        public: the key that the site has now.

    Raises:
        FederationError: the keys do not lead to that key.
    """
    changes = [(stored.line.number, stored.line.values) for stored in found if stored.line.kind == "key"]
    keys = [(1, str(changes[0][1].get("before")) if changes else public)]
    for number, values in changes:
        if values.get("before") != keys[-1][1]:
            raise FederationError(f"journal: line {number} hands over from a key that the site did not have")
        keys.append((number + 1, str(values.get("key"))))
    if keys[-1][1] != public:
        raise FederationError("journal: it ends under another key than the site's; give the key that it has now")
    return tuple(keys)


def check_signatures(found: Iterable[Stored], keys: Sequence[tuple[int, str]], site: str) -> None:
    """Checks that the site wrote every line.

    Raises:
        FederationError: names the first line that it did not write.
    """
    for stored in found:
        number = stored.line.number
        key = next(key for first, key in reversed(keys) if first <= number)
        if not valid(key, stored.signature, _line_bytes(site, stored.hash)):
            raise FederationError(f"journal: line {number} is not signed by {site}; another wrote it")


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


def newest_policy(database: sqlite3.Connection) -> dict[str, Any]:
    """Returns `version` and `sha256` of the newest policy that the journal names, or nothing where it names none."""
    query = "SELECT body FROM journal WHERE kind IN ('policy', 'begin', 'decision') ORDER BY number DESC"
    for (body,) in database.execute(query):
        values = json.loads(body)
        stamp = values.get("policy") or values
        if isinstance(stamp.get("version"), int):
            # Versions only rise, so that the newest line that names one has the highest.
            return dict(stamp)
    return {}


def is_older(stamp: Mapping[str, Any], newest: Mapping[str, Any]) -> bool:
    """Whether a policy is another than the newest that the journal names, and not a later one.

    Args:
        stamp: the policy's `version` and `sha256`.
        newest: what `newest_policy` gave.
    """
    if not newest or stamp["version"] > newest["version"]:
        return False
    return bool(stamp["version"] < newest["version"] or stamp["sha256"] != newest.get("sha256"))


def newest_cut(database: sqlite3.Connection) -> str | None:
    """Returns what the newest line on bound data has of the secret for the cut, or None where none has."""
    for (body,) in database.execute("SELECT body FROM journal WHERE kind = 'data' ORDER BY number DESC"):
        mark = json.loads(body).get("cut")
        return None if mark is None else str(mark)
    return None


def newest_decision(database: sqlite3.Connection, request: str) -> str | None:
    """Returns the digest of the newest decision on a request that the journal names, or None where it names none."""
    for (body,) in database.execute("SELECT body FROM journal WHERE kind = 'decision' ORDER BY number DESC"):
        values = json.loads(body)
        if values.get("request") == request:
            # Lines of versions before name no digest.
            digest = values.get("sha256")
            return None if digest is None else str(digest)
    return None
