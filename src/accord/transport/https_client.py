"""Signed requests to the coordinator, sent again while it cannot be reached."""

import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import httpx

from accord.core.errors import Fault, FederationError
from accord.transport.artefacts import MOST_BYTES
from accord.transport.frames import CONTENT_TYPE, pack, unpack
from accord.transport.identity import Identity
from accord.transport.requests import request_headers
from accord.transport.service_limits import INLINE, MOST_JSON, MOST_WAIT_S, PIECE, TOTAL

_LONGEST_PAUSE_S = 2.0
_MOST_RESPONSE = 2 * (INLINE + MOST_JSON)
_RESPONSE_S = 300.0


class Client:
    """A member's connection to the coordinator.

    Args:
        identity: the member.
        patience_s: seconds for which a coordinator that cannot be reached is asked again.
        transport: sends requests in the place of TLS connections, for tests.
    """

    def __init__(
        self, identity: Identity, patience_s: float = 60.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.identity = identity
        self._patience_s = patience_s
        self._kept: dict[str, bytes] = {}
        timeout = httpx.Timeout(MOST_WAIT_S + 40.0, connect=5.0)
        self._http = httpx.Client(
            base_url=identity.url,
            verify=identity.tls() if transport is None else False,
            transport=transport,
            timeout=timeout,
            trust_env=False,
        )

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
                response = self._send(method, target, body, headers)
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

    def _send(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        """Sends a request once, and reads no more than a coordinator may send, for no longer than it may take."""
        end, content = time.monotonic() + _RESPONSE_S, bytearray()
        # Nothing compressed, which could be small on the way and fill the memory here.
        headers = headers | {"accept-encoding": "identity"}
        with self._http.stream(method, target, content=body, headers=headers) as response:
            for chunk in response.iter_raw():
                content += chunk
                if len(content) > _MOST_RESPONSE:
                    raise FederationError(f"{self.identity.url} sends more than {_MOST_RESPONSE:,} bytes at once")
                if time.monotonic() > end:
                    raise httpx.ReadTimeout("the coordinator sends too slowly")
        kept = {name: response.headers[name] for name in ("content-type", TOTAL) if name in response.headers}
        return httpx.Response(response.status_code, headers=kept, content=bytes(content))

    def post(self, target: str, value: Any) -> Any:
        """Sends JSON and returns the JSON that comes back, or None where nothing does."""
        response = self.call("POST", target, json.dumps(value).encode())
        with self.understood():
            return None if response.status_code == 204 else response.json()

    def get(self, target: str) -> Any:
        """Returns the JSON at a target."""
        response = self.call("GET", target)
        with self.understood():
            return response.json()

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Reads what the coordinator sent, whom nobody here needs to trust.

        Raises:
            FederationError: it is not of the protocol.
        """
        try:
            yield
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise FederationError(f"{self.identity.url} sent what is not of the protocol: {error!r}") from error

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
        with self.understood():
            if response.headers.get("content-type") != CONTENT_TYPE:
                value: dict[str, Any] = response.json()
                return value
            value, parts = unpack(response.content)
        self._kept = {sha256(part).hexdigest(): part for part in parts}
        return value

    def upload(self, content: bytes) -> str:
        """Sends an artefact in pieces, from where an earlier attempt ended. Returns its digest.

        Raises:
            FederationError: the coordinator refuses it, or takes no more of it.
        """
        digest = sha256(content).hexdigest()
        there = self.get(f"/v1/artefacts/{digest}/received")
        for _ in range(2 * (len(content) // PIECE) + 8):
            with self.understood():
                offset, whole = int(there["bytes"]), bool(there["whole"])
            if whole:
                return digest
            # A piece whose reply was lost is there already, and the next one begins after it.
            piece = content[max(0, offset) : max(0, offset) + PIECE]
            response = self.call("PUT", f"/v1/artefacts/{digest}?offset={offset}&total={len(content)}", piece)
            with self.understood():
                there = response.json()
        raise FederationError(f"{self.identity.url} takes no more of artefact {digest[:12]}")

    def download(self, digest: str) -> bytes:
        """Returns an artefact that came along with the last response, or fetches it in pieces.

        Raises:
            FederationError: it is not what its digest says, or the member may not have it.
        """
        if digest in self._kept:
            return self._kept.pop(digest)
        content, total = bytearray(), 1
        while len(content) < total:
            response = self.call("GET", f"/v1/artefacts/{digest}?offset={len(content)}")
            with self.understood():
                total = int(response.headers[TOTAL])
            if not response.content or total > MOST_BYTES:
                raise FederationError(f"artefact {digest[:12]}: nothing more comes, or {total:,} bytes would")
            content += response.content
        if sha256(content).hexdigest() != digest:
            raise FederationError(f"artefact {digest[:12]}: what came is not what its digest says")
        return bytes(content)


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
