"""A member's folder: who it is, where the coordinator is, and its key.

identity.json     name, organisation, role, url
key.pem           its key, 0600
ca.pem            the federation's authority, against which the coordinator's certificate is checked
coordinator.json  the coordinator's public key, by which its receipts are verified
certificate.pem   its own certificate, once it is admitted
"""

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import FederationError
from accord.transport.enrolment import Role
from accord.transport.keys import days_left, load_key


@dataclass(frozen=True)
class Identity:
    """A member of a federation, as it knows itself.

    Attributes:
        folder: where its files are.
        name: how it is known.
        organisation: whose it is.
        role: `site` or `requester`.
        url: where the coordinator is, `https://host:port`.
    """

    folder: Path
    name: str
    organisation: str
    role: Role
    url: str

    @cached_property
    def key(self) -> Ed25519PrivateKey:
        """Its key, read once."""
        return load_key(self.folder / "key.pem")

    @cached_property
    def coordinator_key(self) -> str:
        """The coordinator's public key, 32 bytes in hexadecimal."""
        return str(_read(self.folder / "coordinator.json")["public_key"])

    @property
    def certificate(self) -> Path:
        """The file of its own certificate."""
        return self.folder / "certificate.pem"

    def tls(self) -> ssl.SSLContext:
        """Returns what opens connections: the coordinator must have a certificate of the federation's authority.

        The member's own certificate is presented where it is valid. One that has ended would end every connection, and
        the next one is fetched over such a connection.

        Raises:
            FederationError: the member has no certificate of the authority, or its own is damaged.
        """
        authority, own = self.folder / "ca.pem", self.certificate
        if not authority.is_file():
            raise FederationError(f"{authority}: missing; it comes with the federation's invitation")
        context = ssl.create_default_context(cafile=str(authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            if own.is_file() and days_left(own.read_bytes()) > 0:
                context.load_cert_chain(own, self.folder / "key.pem")
        except (ValueError, ssl.SSLError) as error:
            raise FederationError(f"{own}: no certificate of this key; fetch it with accord site renew") from error
        return context


def save_identity(identity: Identity, authority: bytes, coordinator_key: str) -> None:
    """Writes a member's folder, all but its key and certificate."""
    values = {name: value for name, value in asdict(identity).items() if name != "folder"}
    (identity.folder / "identity.json").write_text(json.dumps(values, indent=1) + "\n")
    (identity.folder / "ca.pem").write_bytes(authority)
    (identity.folder / "coordinator.json").write_text(json.dumps({"public_key": coordinator_key}) + "\n")


def load_identity(folder: Path) -> Identity:
    """Reads a member's folder.

    Raises:
        FederationError: there is none.
    """
    values = _read(folder / "identity.json")
    try:
        return Identity(folder, values["name"], values["organisation"], values["role"], values["url"])
    except KeyError as error:
        raise FederationError(f"{folder / 'identity.json'}: {error} is missing; restore the file") from error


def write_durably(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Writes a file so that after a power cut it is the old one or the new one, whole."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Has the names in a folder on the disk, such as that of a file that was renamed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise FederationError(f"{path}: {error.strerror}; name the folder of a member") from error
    except ValueError as error:
        raise FederationError(f"{path}: damaged; restore the file") from error
    if not isinstance(values, dict):
        raise FederationError(f"{path}: damaged; restore the file")
    return values
