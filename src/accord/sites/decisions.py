"""Requests that wait for a person, and signed decisions on them, which are bound to what was asked and expire.

A decision is about `Job.request`: the resolved study, the digests of its code, who asks, why, and of whom. Any change
of these is another request, which no decision covers.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import FederationError
from accord.transport.artefacts import check_digest
from accord.transport.identity import write_durably
from accord.transport.keys import valid
from accord.transport.messages import Job, canonical

MOST_WAITING = 100
"""Requests of one requester that wait, at most: beyond, new ones are refused until some are decided."""


@dataclass(frozen=True)
class Waiting:
    """A request that waits for a decision.

    Attributes:
        request: its hash.
        requester: who asks.
        organisation: whose.
        purpose: why.
        study: the resolved study in canonical JSON.
        code: digests of its own functions.
        sites: all sites asked.
        seen: when it came, ISO 8601 in UTC.
    """

    request: str
    requester: str
    organisation: str
    purpose: str
    study: str
    code: dict[str, str]
    sites: tuple[str, ...]
    seen: str


@dataclass(frozen=True)
class Decision:
    """What the owner decided.

    Attributes:
        request: the hash that it is about.
        decision: `approve` or `reject`.
        reason: one line; of a rejection the requester is told it.
        until: when an approval ends, ISO 8601 in UTC, or empty.
        epsilon: what the study may spend at most, or None for what the policy says.
        at: when it was decided.
        signature: by the site's key.
    """

    request: str
    decision: Literal["approve", "reject"]
    reason: str
    until: str
    epsilon: float | None
    at: str
    signature: str = ""

    def covered(self) -> bytes:
        """Returns the bytes that the signature covers."""
        values = {name: value for name, value in asdict(self).items() if name != "signature"}
        return b"accord decision\n" + canonical(values)

    @property
    def digest(self) -> str:
        """SHA-256 of what was decided, in hexadecimal, by which the journal knows it."""
        return sha256(self.covered()).hexdigest()


class Decisions:
    """The requests and decisions of a site.

    Args:
        requests: folder of what waits.
        decisions: folder of what was decided.
        public: the site's own key, which must have signed each decision.
    """

    def __init__(self, requests: Path, decisions: Path, public: str) -> None:
        self._requests, self._decisions, self._public = requests, decisions, public

    def find(self, request: str) -> Decision | None:
        """Returns what was decided of a request, or None.

        Raises:
            FederationError: the decision's file was changed since it was signed.
        """
        path = self._decisions / f"{check_digest(request)}.json"
        if not path.is_file():
            return None
        found = read_decision(path)
        if found.request != request or not valid(self._public, found.signature, found.covered()):
            raise FederationError(f"{path}: changed since it was signed; decide again")
        return found

    def note(self, job: Job) -> bool:
        """Keeps a request for a decision. Returns False where too many of its requester's wait already."""
        path = self._requests / f"{check_digest(job.request)}.json"
        if path.exists():
            return True
        self._requests.mkdir(exist_ok=True)
        undecided = (each for each in self._requests.glob("*.json") if not (self._decisions / each.name).exists())
        # Of each requester alone: one who asks for a thousand studies keeps nobody else from asking.
        if sum(_is_of(each, job.requester) for each in undecided) >= MOST_WAITING:
            return False
        seen = _now()
        waiting = Waiting(
            job.request, job.requester, job.organisation, job.purpose, job.study, dict(job.code), job.sites, seen
        )
        write_durably(path, json.dumps(asdict(waiting), indent=1).encode() + b"\n", 0o600)
        return True

    def waiting(self) -> Iterator[Waiting]:
        """Yields every request that was kept, decided or not, oldest first."""
        found = [_waiting(path) for path in self._requests.glob("*.json")]
        yield from sorted(found, key=lambda each: each.seen)

    def get(self, request: str) -> Waiting:
        """Returns a request by its hash, or by the first digits of it.

        Raises:
            FederationError: none, or several, begin so.
        """
        found = [path for path in self._requests.glob("*.json") if path.stem.startswith(request)]
        if len(found) != 1:
            many = "no request begins" if not found else f"{len(found)} requests begin"
            raise FederationError(f"{many} with {request!r}; accord site requests lists them")
        return _waiting(found[0])

    def decide(self, key: Ed25519PrivateKey, decision: Decision) -> Decision:
        """Signs a decision and writes it. The last one of a request counts."""
        self._decisions.mkdir(exist_ok=True)
        signed = replace(decision, signature=key.sign(decision.covered()).hex())
        path = self._decisions / f"{check_digest(decision.request)}.json"
        write_durably(path, json.dumps(asdict(signed), indent=1).encode() + b"\n", 0o600)
        return signed


def read_decision(path: Path) -> Decision:
    """Reads a decision's file, whoever signed it.

    Raises:
        FederationError: it is none.
    """
    try:
        return Decision(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise FederationError(f"{path}: no decision; decide again") from error


def made(
    request: str,
    decision: Literal["approve", "reject"],
    reason: str = "",
    until: str = "",
    epsilon: float | None = None,
) -> Decision:
    """Makes a decision of now, unsigned.

    Raises:
        FederationError: `until` is no time, or lies in the past.
    """
    if until:
        try:
            end = datetime.fromisoformat(until)
        except ValueError as error:
            raise FederationError(f"--until {until!r}: give a day or a time, such as 2027-03-31") from error
        end = end if end.tzinfo is not None else end.replace(tzinfo=UTC)
        if end <= datetime.now(UTC):
            raise FederationError(f"--until {until}: this is past")
        until = end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Decision(request, decision, " ".join(reason.split()), until, epsilon, _now())


def _is_of(path: Path, requester: str) -> bool:
    try:
        return _waiting(path).requester == requester
    except FederationError:
        # A damaged file keeps nobody from asking.
        return False


def _waiting(path: Path) -> Waiting:
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        return Waiting(**{**values, "sites": tuple(values["sites"])})
    except (ValueError, TypeError, KeyError) as error:
        raise FederationError(f"{path}: no request; delete the file") from error


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
