"""Requests as members send them, and as nobody should."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.transport.coordinator import Coordinator
from accord.transport.identity import Identity
from accord.transport.requests import covered, request_headers
from transport.federations import Federation


@dataclass
class Service:
    """A coordinator that serves, and its members."""

    federation: Federation
    coordinator: Coordinator

    def __getitem__(self, name: str) -> Identity:
        return self.federation.identities[name]

    def send(
        self,
        name: str,
        method: str = "GET",
        target: str = "/v1/sites",
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        connected_as: str = "",
        key: Ed25519PrivateKey | None = None,
        by_certificate: bool = True,
    ) -> httpx.Response:
        """Sends one request of a member, signed by its key, with some headers replaced and then signed or not."""
        signed = request_headers(key or self[name].key, name, method, target, body) | dict(headers or {})
        identity = self[connected_as or name]
        context = (
            identity.tls() if by_certificate else ssl.create_default_context(cafile=str(identity.folder / "ca.pem"))
        )
        with httpx.Client(base_url=identity.url, verify=context, trust_env=False) as http:
            return http.request(method, target, content=body, headers=signed)

    def signed_with(self, name: str, target: str = "/v1/sites", **changed: str) -> dict[str, str]:
        """Returns headers of a request whose signature covers what was changed."""
        headers = request_headers(self[name].key, name, "GET", target, b"") | {
            f"x-accord-{part}": value for part, value in changed.items()
        }
        return headers | {"x-accord-signature": self[name].key.sign(covered("GET", target, headers)).hex()}


def reason(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    text: str = response.json()["error"]
    assert "\n" not in text
    assert "Traceback" not in text
    return text
