"""A coordinator's folder and its members for tests, and a service on a free port of loopback in a thread."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from accord.transport.coordinator import Coordinator
from accord.transport.enrolment import Role, make_request
from accord.transport.federation_folder import Settings, make_federation, open_coordinator
from accord.transport.identity import Identity, save_identity
from accord.transport.keys import Authority, make_key
from accord.transport.server import config_of

MEMBERS: dict[str, Role] = {"ada": "requester", "east": "site", "north": "site", "west": "site"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Federation:
    """A coordinator with four members.

    Attributes:
        folder: the coordinator's.
        identities: the members, by name.
    """

    folder: Path
    identities: dict[str, Identity]


def make(folder: Path, port: int, **settings: object) -> Federation:
    """Makes a federation whose members are admitted and have certificates."""
    home = folder / "coordinator"
    make_federation(home, Settings("test", ("127.0.0.1",), port, **settings))  # type: ignore[arg-type]
    coordinator, authority = open_coordinator(home)
    try:
        identities = {name: admit(coordinator, authority, folder, name, role) for name, role in MEMBERS.items()}
    finally:
        coordinator.tables.close()
    url = f"https://127.0.0.1:{port}"
    for identity in identities.values():
        assert identity.url in ("", url)
    return Federation(home, {name: enrolled(folder / name, each, home, url) for name, each in identities.items()})


def admit(coordinator: Coordinator, authority: Authority, folder: Path, name: str, role: Role) -> Identity:
    own = folder / name
    own.mkdir()
    key = make_key(own / "key.pem")
    request = make_request(key, name, f"{name}'s", role)
    coordinator.members.admit(request)
    (own / "certificate.pem").write_bytes(authority.issue(name, request.public_key))
    return Identity(own, name, f"{name}'s", role, "")


def enrolled(folder: Path, made: Identity, home: Path, url: str) -> Identity:
    coordinator, _ = open_coordinator(home)
    coordinator.tables.close()
    identity = Identity(folder, made.name, made.organisation, made.role, url)
    save_identity(identity, (home / "ca" / "certificate.pem").read_bytes(), coordinator.public_key)
    return identity


@contextmanager
def serving(folder: Path) -> Iterator[Coordinator]:
    """Serves a coordinator's folder from a thread of this process."""
    coordinator, authority = open_coordinator(folder)
    server = uvicorn.Server(config_of(folder, coordinator, authority))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        end = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            assert time.monotonic() < end
            time.sleep(0.01)
        yield coordinator
    finally:
        server.should_exit = True
        thread.join(20)
        coordinator.tables.close()
