"""How an organisation becomes a member: its request, and what the coordinator hands back."""

import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import FederationError
from accord.transport.exchange import Succession
from accord.transport.keys import public_hex, valid
from accord.transport.messages import PROTOCOL, canonical

Role = Literal["site", "requester"]
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""What members may be called: lower-case letters, digits and hyphens, so that a name is a file name and a host name."""
_MOST_BYTES = 10_000


@dataclass(frozen=True)
class EnrolmentRequest:
    """What a member-to-be sends to the coordinator. It holds nothing secret.

    Attributes:
        name: how it will be known.
        organisation: whose it is.
        role: `site` for a data owner's agent, `requester` for a person who asks for training.
        public_key: 32 bytes in hexadecimal.
        protocol: the version of messages that it speaks.
        signature: by the key itself, which shows that the sender has it.
        before: the member's key so far, where this one takes over from it, else empty.
        handover: by the key so far, which shows that the member itself changed it, else empty.
    """

    name: str
    organisation: str
    role: Role
    public_key: str
    protocol: int
    signature: str
    before: str = ""
    handover: str = ""

    @property
    def succession(self) -> Succession | None:
        """The statement that this key takes over from another, or None."""
        return Succession(self.before, self.public_key, self.handover) if self.before else None


def make_request(
    key: Ed25519PrivateKey, name: str, organisation: str, role: Role, before: Ed25519PrivateKey | None = None
) -> EnrolmentRequest:
    """Makes a request.

    Args:
        key: the member's.
        name: how it will be known.
        organisation: whose it is.
        role: `site` or `requester`.
        before: the member's key so far, where `key` takes over from it.

    Raises:
        FederationError: the name is none.
    """
    check_name(name)
    check_organisation(organisation)
    content = _covered(name, organisation, role, public_hex(key), PROTOCOL)
    made = EnrolmentRequest(name, organisation, role, public_hex(key), PROTOCOL, key.sign(content).hex())
    if before is None:
        return made
    handover = before.sign(_handed_over(name, public_hex(before), public_hex(key))).hex()
    return replace(made, before=public_hex(before), handover=handover)


def succeeds(name: str, link: Succession) -> bool:
    """Whether a member's key signed for the next one."""
    return valid(link.before, link.signature, _handed_over(name, link.before, link.key))


def check_name(name: str) -> None:
    """Refuses what cannot be a member's name.

    Raises:
        FederationError: says what may.
    """
    if not NAME.fullmatch(name) or name == "coordinator":
        raise FederationError(f"name {name!r}: use lower-case letters, digits and hyphens, such as hospital-a")


def check_organisation(organisation: str) -> None:
    """Refuses what cannot be an organisation's name, such as control characters that would change a terminal.

    Raises:
        FederationError: says what may.
    """
    if not 1 <= len(organisation) <= 200 or not organisation.isprintable():
        raise FederationError(f"organisation {organisation[:40]!r}: use 1 to 200 printable characters on one line")


def write_request(request: EnrolmentRequest, path: Path) -> None:
    """Writes a request to a file."""
    path.write_text(json.dumps(asdict(request), indent=1) + "\n")


def read_request(path: Path) -> EnrolmentRequest:
    """Reads a request and checks its signature.

    Raises:
        FederationError: it is missing, damaged or not signed by its own key, or of another version.
    """
    try:
        text = path.read_bytes()
        if len(text) > _MOST_BYTES:
            raise ValueError("too long")
        request = EnrolmentRequest(**json.loads(text))
        texts = (
            request.name, request.organisation, request.role, request.public_key, request.signature, request.before,
            request.handover,
        )  # fmt: skip
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("not texts")
    except OSError as error:
        raise FederationError(f"{path}: {error.strerror}; name the file that the member sent") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise FederationError(f"{path}: no enrolment request; name the file that the member sent") from error
    check_name(request.name)
    check_organisation(request.organisation)
    if request.protocol != PROTOCOL:
        raise FederationError(
            f"{path}: {request.name} speaks protocol {request.protocol}, this is {PROTOCOL}; update the older one"
        )
    if request.role not in ("site", "requester"):
        raise FederationError(f"{path}: role {request.role!r} is neither site nor requester")
    content = _covered(request.name, request.organisation, request.role, request.public_key, request.protocol)
    if not valid(request.public_key, request.signature, content):
        raise FederationError(f"{path}: the request was changed since it was made; have the member send it again")
    if request.succession is not None and not succeeds(request.name, request.succession):
        raise FederationError(f"{path}: the key so far did not sign for the new one; have the member send it again")
    return request


def _handed_over(name: str, before: str, key: str) -> bytes:
    return b"accord succession\n" + canonical([name, before, key])


def _covered(name: str, organisation: str, role: str, public: str, protocol: int) -> bytes:
    return b"accord enrolment\n" + canonical([name, organisation, role, public, protocol])
