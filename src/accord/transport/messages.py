"""The messages between a study's requester, the coordinator and the sites, and their signatures.

Every message is a frozen value with one canonical form in JSON, and is signed with its author's Ed25519 key (RFC 8032).
The coordinator passes messages on and can read them, but a site believes the requester's signature and the requester
believes the site's, so that a coordinator can neither forge nor change one.

Tensors are not part of a message. They are artefacts, which a message names by their SHA-256.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from accord.core.errors import MessageError

PROTOCOL = 1
"""The version of the messages. Both sides state theirs, and refuse another."""

Kind = Literal["plan", "describe", "train", "losses", "evaluate", "end"]
"""What a task asks for.

`plan`: what the site would do, its noise, its epsilon and its rounded rows, or why it refuses. `describe`: statistics
of its rows. `train`: an update. `losses`: the mean loss on its training rows. `evaluate`: additive sums over its own
test rows. `end`: the run is over.
"""

MOST_TEXT = 1_000_000
"""Characters of a message's canonical form, at most."""


def canonical(value: Any) -> bytes:
    """Encodes JSON-ready values in one way only: sorted keys, no spaces, UTF-8, no NaN or infinity.

    >>> canonical({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Message:
    """The base of the messages: canonical bytes and digest."""

    # Read by pydantic, which parses messages: a key that is unknown here may have changed the meaning of the others.
    __pydantic_config__ = ConfigDict(extra="forbid")

    def encoded(self) -> bytes:
        """Returns the canonical bytes, which begin with the message's type, so that no type passes for another."""
        return self._encoded

    def digest(self) -> str:
        """Returns the SHA-256 of the canonical bytes, in hexadecimal."""
        return self._digest

    # A message is frozen, and is asked for these many times on its way. `replace` makes another one, which has its own.
    @cached_property
    def _encoded(self) -> bytes:
        return canonical({"type": type(self).__name__.lower(), **asdict(self)})  # type: ignore[call-overload]

    @cached_property
    def _digest(self) -> str:
        return sha256(self._encoded).hexdigest()


@dataclass(frozen=True)
class Job(_Message):
    """A run as its requester submits it to the sites.

    Attributes:
        run: 32 random hexadecimal digits.
        study: the resolved study in canonical JSON, without what only decides where and how fast it runs.
        code: SHA-256 of the code of each function of the user's own that the study names, by `module:function`.
        requester: the name of the person who asks.
        organisation: that person's organisation.
        purpose: why, in one sentence.
        sites: the sites asked, sorted. Client i of the run is `sites[i]`.
        created: when, ISO 8601 in UTC.
        protocol: `PROTOCOL` of the requester.
    """

    run: str
    study: str
    code: Mapping[str, str]
    requester: str
    organisation: str
    purpose: str
    sites: tuple[str, ...]
    created: str
    protocol: Count = PROTOCOL

    @property
    def request(self) -> str:
        """The digest of what a site approves: study, code, requester and purpose, the same for a run started again."""
        asked = (self.study, dict(self.code), self.requester, self.organisation, self.purpose, list(self.sites))
        return sha256(canonical(asked)).hexdigest()


@dataclass(frozen=True)
class Task(_Message):
    """One piece of work for one site. It is identified by (run, site, round, call).

    Attributes:
        run: the run's identifier.
        site: whose work it is.
        round: the round, counted from 1, or 0 before training.
        call: counts what the round asks of this site, from 0. Most programs ask once.
        kind: what is asked.
        work: which of the program's kinds of client work (see `engines.federation.works`), from 0.
        inputs: SHA-256 of the artefact with the round's parameters, or empty.
        deadline_s: seconds that the requester waits for the answer.
        job: digest of the `Job`.
    """

    run: str
    site: str
    round: Count
    call: Count
    kind: Kind
    work: Count
    inputs: str
    deadline_s: Number
    job: str


@dataclass(frozen=True)
class Answer(_Message):
    """What a site sends back for a task that it did.

    Attributes:
        task: digest of the `Task`.
        site: the site.
        run: as in the task.
        round: as in the task.
        call: as in the task.
        kind: as in the task.
        result: SHA-256 of the artefact with the result's tensors, or empty.
        values: numbers and short texts, by name. Each kind's are listed in docs/federation.md.
        epsilon: epsilon of the site's rows after this task at the study's delta, or None without privacy.
        line: sequence number of the site's journal line on this answer.
        head: hash of that line, which stands for everything before it.
    """

    task: str
    site: str
    run: str
    round: Count
    call: Count
    kind: Kind
    result: str
    values: Mapping[str, Any]
    epsilon: Number | None
    line: Count
    head: str


@dataclass(frozen=True)
class Refusal(_Message):
    """Why a site did not do a task. Nothing of its rows is in it.

    Attributes:
        task: digest of the `Task`.
        site: the site.
        run: as in the task.
        round: as in the task.
        call: as in the task.
        code: one word, such as `approval`, `budget`, `policy`, `signature`, `fault`; listed in docs/federation.md.
        reason: one line for people.
        line: sequence number of the site's journal line on this refusal.
        head: hash of that line.
    """

    task: str
    site: str
    run: str
    round: Count
    call: Count
    code: str
    reason: str
    line: Count
    head: str


@dataclass(frozen=True)
class Receipt(_Message):
    """The coordinator's countersignature of a site's journal, given when it takes an answer or a refusal.

    Attributes:
        site: the site.
        line: the newest line of its journal that the coordinator has seen.
        head: that line's hash.
        at: when, ISO 8601 in UTC.
    """

    site: str
    line: Count
    head: str
    at: str


M = TypeVar("M", bound=_Message)


@dataclass(frozen=True)
class Signed(Generic[M]):
    """A message with its author's name and signature.

    Attributes:
        message: the message.
        signer: the author's enrolled name.
        signature: 64 bytes over the signer's name and the canonical bytes, in hexadecimal.
    """

    message: M
    signer: str
    signature: str

    def covered(self) -> bytes:
        """Returns the bytes that the signature covers."""
        return signed_bytes(self.signer, self.message)

    def as_json(self) -> dict[str, Any]:
        """Returns the signed message as JSON-ready values."""
        return {
            "message": json.loads(self.message.encoded()),
            "signer": self.signer,
            "signature": self.signature,
        }


def signed_bytes(signer: str, message: _Message) -> bytes:
    """Returns what an author signs: a fixed prefix, the author's name, and the message's canonical bytes."""
    # The prefix keeps these signatures apart from those over requests and policies by the same key.
    return b"accord message\n" + canonical(signer) + b"\n" + message.encoded()


def from_json(value: object, expected: type[M]) -> Signed[M]:
    """Reads a signed message. The signature is not checked here, see `keys.verify`.

    Args:
        value: decoded JSON.
        expected: the type it must have.

    Raises:
        MessageError: it is not such a message, or it has keys that are unknown here.
    """
    if not isinstance(value, dict) or set(value) != {"message", "signer", "signature"}:
        raise MessageError("a signed message has message, signer and signature, and nothing else")
    inner, signer, signature = value["message"], value["signer"], value["signature"]
    kind = expected.__name__.lower()
    if not isinstance(inner, dict) or inner.get("type") != kind:
        raise MessageError(f"expected a message of type {kind}")
    if not isinstance(signer, str) or not isinstance(signature, str):
        raise MessageError(f"message {kind}: signer and signature must be texts")
    try:
        encoded = canonical({name: item for name, item in inner.items() if name != "type"})
        if len(encoded) > MOST_TEXT:
            raise MessageError(f"message {kind}: longer than {MOST_TEXT:,} bytes")
        # From JSON text, where a list may become a tuple; strict, so that `true` is no number and 1.0 no count.
        message: M = _READERS[expected].validate_json(encoded, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise MessageError(f"message {kind}: {where}: {first['msg']}; do both sides have one version?") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise MessageError(f"message {kind}: {error}") from error
    return Signed(message, signer, signature)


_READERS: dict[type[Any], TypeAdapter[Any]] = {
    each: TypeAdapter(each) for each in (Job, Task, Answer, Refusal, Receipt)
}
