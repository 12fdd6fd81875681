"""A federation of real processes on this machine: for a try, a lesson, a benchmark, before others are asked to join.

Everything is as between organisations: keys, certificates, HTTPS on one port, signed policies, ledgers and journals.
Only the fingerprints are compared by the program, and no one has to telephone.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from accord.sites import agent_process
from accord.sites.policy import sign_policy
from accord.sites.site_setup import make_site
from accord.transport import server
from accord.transport.enrolment import Role, read_request
from accord.transport.federation_folder import Settings, invitation, make_federation, open_coordinator
from accord.transport.joining import join, trust_site
from accord.transport.keys import fingerprint, load_key, public_hex

REQUESTER = "researcher"
"""The name of the person who runs studies."""
ORGANISATION = "university"
"""That person's organisation."""


@dataclass(frozen=True)
class LocalFederation:
    """A coordinator and sites that run on this machine.

    Attributes:
        folder: holds every member's folder.
        identity: the requester's folder, for `engine.identity`.
        url: where the coordinator is.
        processes: process ids by name.
    """

    folder: Path
    identity: Path
    url: str
    processes: Mapping[str, int]

    def site(self, name: str) -> Path:
        """Returns a site's folder."""
        return self.folder / name

    def set_policy(self, name: str, *rules: Mapping[str, Any]) -> None:
        """Gives a site other rules, signed by its owner's key. They hold from the next message on."""
        write_policy(self.site(name), public_hex(load_key(self.identity / "key.pem")), rules)


@contextmanager
def local_federation(
    folder: Path, sites: Mapping[str, Mapping[str, Any]], rules: tuple[Mapping[str, Any], ...]
) -> Iterator[LocalFederation]:
    """Runs a coordinator and sites until the block ends.

    Args:
        folder: where, new or empty. The caller removes it.
        sites: each site's description of its data, as in `site-data.yaml`.
        rules: of every site's policy. It names the requester.

    Raises:
        FederationError: a process did not come up.
    """
    with ExitStack() as ending:
        coordinator = folder / "coordinator"
        settings = Settings("this-machine", ("127.0.0.1",), _free_port())
        make_federation(coordinator, settings)
        processes = {"coordinator": server.start(coordinator)}
        ending.callback(server.stop, coordinator)
        invited = invitation(coordinator)
        identity = _admitted(coordinator, folder / REQUESTER, invited, REQUESTER, ORGANISATION, "requester")
        key = public_hex(load_key(identity / "key.pem"))
        for name, described in sites.items():
            site = _admitted(coordinator, folder / name, invited, name, name, "site")
            # To be compared with a simulation over the same rows, which has no secret.
            make_site(site, secret_cut=False)
            # In the place of a telephone: the run would say that it trusts each on first use.
            trust_site(identity, name, fingerprint(public_hex(load_key(site / "key.pem"))))
            (site / "data" / f"{described['data_set']}.yaml").write_text(yaml.safe_dump(dict(described)))
            write_policy(site, key, rules)
            processes[name] = agent_process.start(site)
            ending.callback(agent_process.stop, site)
        yield LocalFederation(folder, identity, settings.url, processes)


def write_policy(site: Path, key: str, rules: tuple[Mapping[str, Any], ...]) -> None:
    """Writes and signs a site's policy, which names the requester by its key."""
    policy = {
        "requesters": [{"name": REQUESTER, "organisation": ORGANISATION, "key": key}],
        "rules": [{"requesters": [REQUESTER], **rule} for rule in rules],
    }
    path = site / "policy.yaml"
    path.write_text(yaml.safe_dump(policy, sort_keys=False))
    sign_policy(path, load_key(site / "key.pem"))


def _admitted(coordinator: Path, folder: Path, invited: str, name: str, organisation: str, role: Role) -> Path:
    _, path = join(folder, invited, name, organisation, role)
    books, authority = open_coordinator(coordinator)
    try:
        request = read_request(path)
        books.members.admit(request)
        (folder / "certificate.pem").write_bytes(authority.issue(name, request.public_key))
    finally:
        books.tables.close()
    return folder


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
