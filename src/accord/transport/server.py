"""Runs a coordinator's service: in this process, or in one of its own that is started and stopped by command.

`python -m accord.transport.server FOLDER` serves until it is ended.
"""

import asyncio
import resource
import ssl
import sys
from pathlib import Path
from typing import Any

import h11
import httpx
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from accord.core.background import start_background, stop_background
from accord.core.errors import FederationError
from accord.transport.coordinator import Coordinator
from accord.transport.federation_folder import open_coordinator, read_settings
from accord.transport.keys import Authority
from accord.transport.service import make_app
from accord.transport.service_limits import BODY_S, HEAD_S, MOST_CONNECTIONS

PID = "coordinator.pid"
"""The file with the id of the process that `start` began."""
_START_S = 30.0
_LOOK_S = 1.0
_MOST_FILES = 8192


class _WithPeer(H11Protocol):
    """Puts the name in the peer's certificate into each request's scope, and ends connections that send too slowly.

    uvicorn does neither: who sends half a request would hold its connection for ever, without any signature.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        subject = (transport.get_extra_info("peercert") or {}).get("subject", ())
        names = [value for part in subject for key, value in part if key == "commonName"]
        inner = self.app

        async def with_name(scope: Any, receive: Any, send: Any) -> None:
            if names:
                scope["peer_name"] = names[0]
            await inner(scope, receive, send)

        self.app = with_name
        self._waits_for: object = None
        self._until = 0.0
        self._look()

    def _look(self) -> None:
        """Ends the connection where it has been waiting for the same part of the same request for too long."""
        if self.transport.is_closing():
            return
        body = self.conn.their_state is h11.SEND_BODY
        head = self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None
        waits_for = (body, id(self.cycle)) if body or head else None
        now = self.loop.time()
        if waits_for != self._waits_for:
            # Longer than the service waits for a body, so that its own reason is told first.
            self._until = now + (BODY_S + HEAD_S if body else HEAD_S)
            self._waits_for = waits_for
        elif waits_for is not None and now >= self._until:
            self.transport.abort()
            return
        self.loop.call_later(_LOOK_S, self._look)


def serve(folder: Path) -> None:
    """Serves until the process is told to end.

    Raises:
        FederationError: it is no coordinator's folder, or its port is taken.
    """
    settings = read_settings(folder)
    # A connection is a file; systems often allow 1,024.
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _MOST_FILES if allowed == resource.RLIM_INFINITY else min(_MOST_FILES, allowed)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, allowed))
    coordinator, authority = open_coordinator(folder)
    try:
        server = uvicorn.Server(config_of(folder, coordinator, authority))
        asyncio.run(server.serve())
        if not server.started:
            raise FederationError(f"port {settings.port} is taken; end what listens there, or set another port")
    finally:
        coordinator.tables.close()


def config_of(folder: Path, coordinator: Coordinator, authority: Authority) -> uvicorn.Config:
    """Returns how uvicorn serves a coordinator's folder: one TLS port, TLS 1.3, members' certificates checked."""
    settings = read_settings(folder)
    config = uvicorn.Config(
        make_app(coordinator, authority),
        # On loopback alone where it is reached by loopback alone; else sites call in from outside.
        host=settings.hosts[0] if _is_loopback(settings.hosts[0]) else "0.0.0.0",
        port=settings.port,
        http=_WithPeer,
        ws="none",
        log_level="warning",
        ssl_certfile=str(folder / "certificate.pem"),
        ssl_keyfile=str(folder / "key.pem"),
        ssl_ca_certs=str(folder / "ca" / "certificate.pem"),
        ssl_cert_reqs=ssl.CERT_REQUIRED if settings.require_certificates else ssl.CERT_OPTIONAL,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
        limit_concurrency=MOST_CONNECTIONS,
        h11_max_incomplete_event_size=2**16,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    return config


def start(folder: Path) -> int:
    """Starts a coordinator in a process of its own, and waits until it answers. Returns the process id.

    Raises:
        FederationError: it runs already, or did not come up; the message has its last words.
    """
    settings = read_settings(folder)
    return start_background(
        [sys.executable, "-m", "accord.transport.server", str(folder)],
        folder / PID,
        folder / "coordinator.log",
        lambda: answers(folder, settings.url),
        _START_S,
        f"the coordinator of {folder}",
    )


def stop(folder: Path) -> bool:
    """Ends a coordinator that `start` began. Returns whether one ran."""
    return stop_background(folder / PID)


def answers(folder: Path, url: str) -> bool:
    """Whether a coordinator answers at a URL, with a certificate of this folder's authority."""
    context = ssl.create_default_context(cafile=str(folder / "ca" / "certificate.pem"))
    try:
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        return httpx.get(f"{url}/v1/authority", verify=context, trust_env=False, timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


if __name__ == "__main__":
    try:
        serve(Path(sys.argv[1]))
    except FederationError as error:
        sys.exit(str(error))
