"""The signature on every request to the coordinator, the same for both sides.

A request carries who sends it, when, a nonce, the SHA-256 of its body, and a signature over all of these and over what
is asked. So a proxy that opens TLS can neither change nor repeat it.
"""

import secrets
import time
from collections.abc import Mapping
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.transport.messages import PROTOCOL

SKEW_S = 60.0
"""Seconds that two clocks may differ."""
MEMBER, TIME, NONCE = "x-accord-member", "x-accord-time", "x-accord-nonce"
DIGEST, SIGNATURE, VERSION = "x-accord-digest", "x-accord-signature", "x-accord-protocol"


def request_headers(key: Ed25519PrivateKey, member: str, method: str, target: str, body: bytes) -> dict[str, str]:
    """Signs a request.

    Args:
        key: the member's.
        member: its name.
        method: such as `POST`.
        target: path and query.
        body: what is sent.
    """
    headers = {
        MEMBER: member,
        TIME: f"{time.time():.3f}",
        NONCE: secrets.token_hex(16),
        DIGEST: sha256(body).hexdigest(),
        VERSION: str(PROTOCOL),
    }
    return headers | {SIGNATURE: key.sign(covered(method, target, headers)).hex()}


def covered(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Returns what a request's signature covers."""
    parts = [method, target, *(headers.get(name, "") for name in (MEMBER, TIME, NONCE, DIGEST, VERSION))]
    return b"accord request\n" + "\n".join(parts).encode()
