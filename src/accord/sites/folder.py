"""A site's folder, which its owner alone can read.

identity.json, key.pem, ca.pem, coordinator.json, certificate.pem    who it is, see `transport.identity`
data/NAME.yaml       descriptions of bound data sets
code/                modules of studies' own functions, as the owner reviewed them; imported in the sandbox only
cut.key              the secret by which rows are cut into training and test rows
policy.yaml          the owner's terms, with policy.yaml.signature by the site's key
requests/HASH.json   what was asked and needs a decision
decisions/HASH.json  approvals and rejections, signed by the site's key
records.db           journal, ledger and outbox
outbox/              results of more than 1 MiB that may be asked for again
head.json            the journal's newest line, signed, outside of the database
receipt.json         the coordinator's newest countersignature
agent.log, agent.pid of the process that `accord site start` began
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from accord.core.errors import FederationError
from accord.sites.bindings import Binding, read_binding
from accord.transport.identity import Identity, load_identity

CUT_KEY, CODE = "cut.key", "code"


def read_cut_key(folder: Path) -> bytes:
    """Reads the secret by which rows are cut into training and test rows. Empty where the site has none.

    Raises:
        FederationError: it is damaged.
    """
    path = folder / CUT_KEY
    try:
        return bytes.fromhex(path.read_text()) if path.is_file() else b""
    except ValueError as error:
        raise FederationError(f"{path}: damaged; put it back, or test rows become training rows") from error


def cut_mark(cut_key: bytes) -> str:
    """Returns what the journal has of a site's secret for the cut, by which another one is found."""
    return blake2b(b"accord cut\n" + cut_key, digest_size=16).hexdigest()


@dataclass(frozen=True)
class SiteFolder:
    """A site's folder.

    Attributes:
        path: where it is.
        identity: who the site is.
    """

    path: Path
    identity: Identity

    @property
    def data(self) -> Path:
        """Where descriptions of data sets are."""
        return self.path / "data"

    @property
    def policy(self) -> Path:
        """The policy's file."""
        return self.path / "policy.yaml"

    @property
    def requests(self) -> Path:
        """Where requests wait for a decision."""
        return self.path / "requests"

    @property
    def decisions(self) -> Path:
        """Where decisions are."""
        return self.path / "decisions"

    @property
    def records(self) -> Path:
        """The database of journal, ledger and outbox."""
        return self.path / "records.db"

    @property
    def cut_key(self) -> bytes:
        """The secret by which rows are cut into training and test rows, empty where the site has none.

        Raises:
            FederationError: it is damaged.
        """
        return read_cut_key(self.path)

    def bindings(self) -> Mapping[str, Binding]:
        """Reads the descriptions of all bound data sets, by name.

        Raises:
            FederationError: a description cannot be read.
        """
        found = {}
        for path in sorted(self.data.glob("*.yaml")):
            binding = read_binding(path, self.cut_key)
            found[binding.data_set] = binding
        return found


def open_site(path: Path) -> SiteFolder:
    """Opens a site's folder.

    Raises:
        FederationError: it is none, or others can read it.
    """
    identity = load_identity(path)
    if identity.role != "site":
        raise FederationError(f"{path}: the identity of a {identity.role}, not of a site; make one: accord site init")
    if path.stat().st_mode & 0o077:
        raise FederationError(f"{path}: others on this machine can read it; run chmod 700 {path}")
    return SiteFolder(path, identity)
