"""A coordinator's folder.

coordinator.json  name, host names, port, database, whether client certificates are required
ca/               the authority: key.pem, certificate.pem
key.pem           the coordinator's own key: its TLS certificate and its receipts
certificate.pem   its certificate
federation.db     the tables, unless another database is named
artefacts/        tensors by their SHA-256, those of more than 1 MiB
coordinator.log, coordinator.pid    of the process that `start` began
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from accord.core.errors import FederationError
from accord.transport.artefacts import MOST_BYTES, ArtefactStore
from accord.transport.coordinator import Coordinator
from accord.transport.holdings import Quotas
from accord.transport.keys import Authority, load_authority, load_key, make_authority, make_key, public_hex
from accord.transport.tables import Tables, sqlite_url


@dataclass(frozen=True)
class Settings:
    """What a coordinator is told.

    Attributes:
        name: of the federation.
        hosts: names and addresses under which it is reached; the first is in its URL.
        port: its one TLS port.
        database: URL of the tables, or empty for a file of SQLite in the folder.
        require_certificates: whether a connection needs a member's certificate, besides every request's signature.
        most_bytes: of one artefact.
        member_bytes: of all artefacts and jobs of one member.
        member_tasks: of one requester that are not done.
    """

    name: str
    hosts: tuple[str, ...]
    port: int
    database: str = ""
    require_certificates: bool = False
    most_bytes: int = MOST_BYTES
    member_bytes: int = Quotas.held
    member_tasks: int = Quotas.tasks

    @property
    def url(self) -> str:
        """Where members reach it."""
        return f"https://{self.hosts[0]}:{self.port}"


def make_federation(folder: Path, settings: Settings) -> None:
    """Makes a coordinator's folder, with its authority and keys.

    Raises:
        FederationError: there is one already.
    """
    if (folder / "coordinator.json").exists():
        raise FederationError(f"{folder}: a coordinator's folder already; start it with accord federation start")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = make_authority(folder / "ca", settings.name)
    key = make_key(folder / "key.pem")
    (folder / "certificate.pem").write_bytes(authority.issue("coordinator", public_hex(key), settings.hosts, 3650))
    # Last: a folder with this file is whole.
    (folder / "coordinator.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")


def read_settings(folder: Path) -> Settings:
    """Reads what a coordinator is told.

    Raises:
        FederationError: it is no coordinator's folder.
    """
    path = folder / "coordinator.json"
    try:
        values = json.loads(path.read_text())
        return Settings(**{**values, "hosts": tuple(values["hosts"])})
    except OSError as error:
        raise FederationError(f"{path}: {error.strerror}; make one with accord federation init") from error
    except (ValueError, TypeError, KeyError) as error:
        raise FederationError(f"{path}: damaged; restore the file") from error


def open_coordinator(folder: Path) -> tuple[Coordinator, Authority]:
    """Opens the books of a coordinator. The caller closes `coordinator.tables`.

    Raises:
        FederationError: it is no coordinator's folder, or its database cannot be opened.
    """
    settings = read_settings(folder)
    tables = Tables(settings.database or sqlite_url(folder / "federation.db"))
    store = ArtefactStore(folder / "artefacts", settings.most_bytes)
    quotas = Quotas(held=settings.member_bytes, tasks=settings.member_tasks)
    return Coordinator(tables, store, load_key(folder / "key.pem"), quotas), load_authority(folder / "ca")


def authority_fingerprint(pem: bytes) -> str:
    """Returns what an invitation says of the authority: the SHA-256 of its certificate."""
    from cryptography.x509 import load_pem_x509_certificate

    return sha256(load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).hexdigest()


def invitation(folder: Path) -> str:
    """Returns what a member-to-be needs: the coordinator's address and its authority's fingerprint, in one text.

    Nothing of it is secret. Without the fingerprint a member could not know whose certificate it trusts.
    """
    pem = (folder / "ca" / "certificate.pem").read_bytes()
    return f"{read_settings(folder).url}#{authority_fingerprint(pem)}"
