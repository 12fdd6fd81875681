"""How a member makes its folder: from an invitation, with a key that is made here and never leaves."""

import json
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import AccordError, FederationError
from accord.transport.enrolment import EnrolmentRequest, Role, check_name, make_request, write_request
from accord.transport.federation_folder import authority_fingerprint
from accord.transport.identity import Identity, load_identity, save_identity, write_durably
from accord.transport.keys import certified_key, days_left, load_key, make_key, public_hex
from accord.transport.messages import PROTOCOL
from accord.transport.pins import PINS, trust

RENEW_DAYS = 30.0
"""A certificate that ends within so many days is renewed when the member starts."""


def join(folder: Path, invited: str, name: str, organisation: str, role: Role) -> tuple[EnrolmentRequest, Path]:
    """Makes a member's folder and its request to be admitted.

    Args:
        folder: where, new or empty.
        invited: the invitation, `https://host:port#fingerprint`.
        name: how the member will be known.
        organisation: whose it is.
        role: `site` or `requester`.

    Returns:
        The request, and the file that it is in.

    Raises:
        FederationError: the folder is taken, or the coordinator is not the one of the invitation.
    """
    check_name(name)
    url, _, expected = invited.partition("#")
    if urlsplit(url).scheme != "https" or not expected:
        raise FederationError(
            f"--federation {invited!r}: give what accord federation init printed, https://host:port#fingerprint"
        )
    if folder.exists() and any(folder.iterdir()):
        raise FederationError(f"{folder}: not empty; a member's folder is new")
    authority, coordinator = _authority(url, expected)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    key = make_key(folder / "key.pem")
    identity = Identity(folder, name, organisation, role, url)
    save_identity(identity, authority, coordinator)
    request = make_request(key, name, organisation, role)
    path = folder / f"{name}.request.json"
    write_request(request, path)
    return request, path


def _authority(url: str, expected: str) -> tuple[bytes, str]:
    """Fetches the federation's authority, and believes it by the invitation's fingerprint alone."""
    # Unverified, since there is nothing yet to verify it by: what comes is compared with the invitation.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        found = httpx.get(f"{url}/v1/authority", verify=context, trust_env=False, timeout=10.0).json()
        pem, coordinator, protocol = str(found["authority"]).encode(), str(found["coordinator"]), found["protocol"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        reason = str(error) or type(error).__name__
        raise FederationError(f"{url}: the coordinator does not answer ({reason}); is it running there?") from error
    if authority_fingerprint(pem) != expected:
        raise FederationError(
            f"{url}: not the coordinator of the invitation (its authority has another fingerprint); ask for the "
            "invitation again, by another way"
        )
    if protocol != PROTOCOL:
        raise FederationError(f"{url}: speaks protocol {protocol}, this is {PROTOCOL}; update the older one")
    return pem, coordinator


def certify(folder: Path) -> Identity:
    """Returns the identity of a folder, with a certificate: fetched where there is none, or it ends within 30 days.

    Raises:
        FederationError: the member is not admitted.
        Fault: the coordinator cannot be reached.
    """
    identity = load_identity(folder)
    left = _days_left(identity)
    if left < RENEW_DAYS:
        try:
            write_durably(identity.certificate, _fetch_certificate(identity))
        except AccordError:
            # One that is still valid does until the next start.
            if left <= 0:
                raise
    return identity


def renew(folder: Path) -> None:
    """Fetches a new certificate for a member's key. The old one stays until the new one is there.

    Raises:
        FederationError: the member is not admitted.
        Fault: the coordinator cannot be reached.
    """
    identity = load_identity(folder)
    _days_left(identity)
    write_durably(identity.certificate, _fetch_certificate(identity))


def _days_left(identity: Identity) -> float:
    """Returns for how many days a member's certificate is valid. One that is not of its key is deleted."""
    try:
        pem = identity.certificate.read_bytes()
        if certified_key(pem) == public_hex(identity.key):
            return days_left(pem)
    except FileNotFoundError:
        return 0.0
    except ValueError:
        pass
    # It would let no connection be opened. A kill while a new key was put in place leaves the old key's.
    identity.certificate.unlink()
    return 0.0


def _fetch_certificate(identity: Identity) -> bytes:
    from accord.transport.https_client import Client

    client = Client(identity, patience_s=5.0)
    try:
        fetched = client.call("GET", "/v1/certificate").content
    finally:
        client.close()
    try:
        public = certified_key(fetched)
    except ValueError as error:
        raise FederationError(f"{identity.url} sent no certificate") from error
    if public != public_hex(identity.key):
        raise FederationError(f"{identity.url} sent a certificate of another key; is this key admitted?")
    return fetched


def new_key(folder: Path) -> tuple[EnrolmentRequest, Path]:
    """Makes a new key for a member, and its request. The old key holds until the new one is admitted.

    The new one is `key.next.pem`; `take_key` puts it in place.
    """
    identity = load_identity(folder)
    key = make_key(folder / "key.next.pem")
    # Signed by the old key, too: requesters who trust that one then trust the new one.
    request = make_request(key, identity.name, identity.organisation, identity.role, identity.key)
    path = folder / f"{identity.name}.request.json"
    write_request(request, path)
    return request, path


def next_key(folder: Path) -> Ed25519PrivateKey:
    """Returns the new key that waits to be put in place.

    Raises:
        FederationError: there is none.
    """
    return load_key(folder / "key.next.pem")


def next_certificate(folder: Path) -> bytes:
    """Returns the certificate of the new key, which shows that the key is admitted. Nothing is changed here.

    Raises:
        FederationError: there is no new key, or it is not admitted.
        Fault: the coordinator cannot be reached.
    """
    identity = load_identity(folder)
    # The connection may be by the old key's certificate, since it is of the same member.
    identity.__dict__["key"] = next_key(folder)
    try:
        return _fetch_certificate(identity)
    except FederationError as error:
        raise FederationError(
            f"{error}; is the new key admitted? The coordinator's operator runs: accord federation admit REQUEST"
        ) from error


def take_key(folder: Path, certificate: bytes) -> None:
    """Puts the new key in place with its certificate, see `next_certificate`."""
    (folder / "key.next.pem").replace(folder / "key.pem")
    # A kill between the two leaves a certificate that is not of the key, which `certify` replaces.
    write_durably(folder / "certificate.pem", certificate)


def trust_site(folder: Path, name: str, shown: str) -> str:
    """Trusts a site's key by its fingerprint, in a requester's folder. Returns the fingerprint as it is kept.

    Raises:
        FederationError: it is no requester's folder, or the name or the fingerprint is none.
    """
    if load_identity(folder).role != "requester":
        raise FederationError(f"{folder}: not the folder of a person who runs studies; name that of federation join")
    return trust(folder / PINS, name, shown)


def remember(kind: str, folder: Path) -> None:
    """Notes a folder as the one that commands mean where none is named."""
    home = Path.home() / ".config" / "accord"
    home.mkdir(parents=True, exist_ok=True)
    (home / f"{kind}.json").write_text(json.dumps({"folder": str(folder.resolve())}) + "\n")


def remembered(kind: str, given: Path | None, how: str) -> Path:
    """Returns the folder that was named, or the one that was noted.

    Raises:
        FederationError: there is neither.
    """
    if given is not None:
        return given
    path = Path.home() / ".config" / "accord" / f"{kind}.json"
    try:
        return Path(json.loads(path.read_text())["folder"])
    except (OSError, ValueError, KeyError) as error:
        raise FederationError(f"which folder? name it with --folder, or make one: {how}") from error
