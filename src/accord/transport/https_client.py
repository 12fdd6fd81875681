"""Signed requests to the coordinator, sent again while it cannot be reached."""

import json
import random
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import httpx

from accord.core.errors import Fault, FederationError
from accord.transport.frames import CONTENT_TYPE, pack, unpack
from accord.transport.identity import Identity
from accord.transport.requests import request_headers
from accord.transport.service_limits import MOST_WAIT_S, PIECE

_LONGEST_PAUSE_S = 2.0


class Client:
    """A member's connection to the coordinator.

    Args:
        identity: the member.
        patience_s: seconds for which a coordinator that cannot be reached is asked again.
    """

    def __init__(self, identity: Identity, patience_s: float = 60.0) -> None:
        self.identity = identity
        self._patience_s = patience_s
        self._kept: dict[str, bytes] = {}
        timeout = httpx.Timeout(MOST_WAIT_S + 40.0, connect=5.0)
        self._http = httpx.Client(base_url=identity.url, verify=identity.tls(), timeout=timeout, trust_env=False)

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()

    def call(self, method: str, target: str, body: bytes = b"") -> httpx.Response:
        """Sends a request, and again while the coordinator is away or busy.

        Raises:
            FederationError: the coordinator refuses, with its reason.
            Fault: it could not be reached for longer than the client's patience.
        """
        end, pause, reason = time.monotonic() + self._patience_s, 0.05, ""
        while True:
            # Signed anew each time: a nonce is used once.
            headers = request_headers(self.identity.key, self.identity.name, method, target, body)
            try:
                response = self._http.request(method, target, content=body, headers=headers)
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
            else:
                if response.status_code < 400:
                    return response
                reason = _reason(response)
                if response.status_code < 500 and response.status_code not in (408, 429):
                    raise FederationError(f"{self.identity.url} refuses: {reason}")
            if time.monotonic() >= end:
                raise Fault(f"{self.identity.url} cannot be reached ({reason}); is the coordinator running?")
            time.sleep(pause * (0.5 + random.random()))
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def post(self, target: str, value: Any) -> Any:
        """Sends JSON and returns the JSON that comes back, or None where nothing does."""
        response = self.call("POST", target, json.dumps(value).encode())
        return None if response.status_code == 204 else response.json()

    def exchange(self, target: str, value: dict[str, Any], parts: Sequence[bytes] = ()) -> dict[str, Any] | None:
        """Sends JSON with artefacts and returns the JSON that comes back, or None where nothing does.

        Artefacts that come along are kept for `download`, until the next ones come.
        """
        response = self.call("POST", target, pack(value, parts))
        return self.received(response)

    def received(self, response: httpx.Response) -> dict[str, Any] | None:
        """Reads a response, and keeps the artefacts that came along until the next ones come."""
        if response.status_code == 204:
            return None
        if response.headers.get("content-type") != CONTENT_TYPE:
            value: dict[str, Any] = response.json()
            return value
        value, parts = unpack(response.content)
        self._kept = {sha256(part).hexdigest(): part for part in parts}
        return value

    def upload(self, content: bytes) -> str:
        """Sends an artefact in pieces, from where an earlier attempt ended. Returns its digest."""
        digest = sha256(content).hexdigest()
        there = self.call("GET", f"/v1/artefacts/{digest}/received").json()
        offset, whole = int(there["bytes"]), bool(there["whole"])
        while not whole:
            piece = content[offset : offset + PIECE]
            target = f"/v1/artefacts/{digest}?offset={offset}&total={len(content)}"
            whole = bool(self.call("PUT", target, piece).json()["whole"])
            offset += len(piece)
        return digest

    def download(self, digest: str) -> bytes:
        """Returns an artefact that came along with the last response, or fetches it.

        Raises:
            FederationError: it is not what its digest says, or the member may not have it.
        """
        if digest in self._kept:
            return self._kept.pop(digest)
        content = self.call("GET", f"/v1/artefacts/{digest}").content
        if sha256(content).hexdigest() != digest:
            raise FederationError(f"artefact {digest[:12]}: what came is not what its digest says")
        return content


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
