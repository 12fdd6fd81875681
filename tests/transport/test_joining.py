"""Members join by an invitation that they can check, and renew certificates and keys without being locked out."""

import json
import stat
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import AccordError, Fault, FederationError
from accord.transport.enrolment import make_request, read_request, write_request
from accord.transport.federation_folder import invitation, open_coordinator
from accord.transport.https_client import Client
from accord.transport.identity import load_identity
from accord.transport.joining import certify, join, new_key, next_certificate, renew, take_key
from accord.transport.keys import days_left, load_authority, load_key, public_hex
from transport.federations import Federation, free_port, make, serving


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    made = make(tmp_path, free_port())
    with serving(made.folder):
        yield made


def admitted(federation: Federation, request: Path) -> None:
    coordinator, _ = open_coordinator(federation.folder)
    try:
        coordinator.members.admit(read_request(request))
    finally:
        coordinator.tables.close()


def speaks(folder: Path) -> None:
    client = Client(load_identity(folder), 1.0)
    try:
        client.call("GET", "/v1/sites")
    finally:
        client.close()


def test_a_member_joins_and_is_certified_once_it_is_admitted(federation: Federation, tmp_path: Path) -> None:
    folder = tmp_path / "south"
    request, path = join(folder, invitation(federation.folder), "south", "South", "site")
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "PRIVATE" not in path.read_text()
    with pytest.raises(FederationError, match="no member"):
        certify(folder)
    admitted(federation, path)
    certify(folder)
    certificate = x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())
    authority = x509.load_pem_x509_certificate((federation.folder / "ca" / "certificate.pem").read_bytes())
    certificate.verify_directly_issued_by(authority)
    assert certificate.subject.rfc4514_string() == "CN=south"
    assert request.public_key == public_hex(load_key(folder / "key.pem"))
    speaks(folder)


def test_an_imposter_is_found_by_the_invitation(federation: Federation, tmp_path: Path) -> None:
    url, _, fingerprint = invitation(federation.folder).partition("#")
    with pytest.raises(FederationError, match="another fingerprint"):
        join(tmp_path / "south", f"{url}#{fingerprint[::-1]}", "south", "South", "site")
    with pytest.raises(FederationError, match="#fingerprint"):
        join(tmp_path / "south", url, "south", "South", "site")
    assert not (tmp_path / "south").exists()


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "a/b", "..", "a" * 64, "coordinator", "a\n"])
def test_a_name_is_a_file_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="lower-case letters"):
        make_request(Ed25519PrivateKey.generate(), name, "South", "site")


@pytest.mark.parametrize("organisation", ["", "a\x1b[2Jb", "a\nb", "a" * 201])
def test_an_organisation_changes_no_terminal(organisation: str) -> None:
    with pytest.raises(FederationError, match="printable"):
        make_request(Ed25519PrivateKey.generate(), "south", organisation, "site")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "north"},
        {"organisation": "Eve"},
        {"role": "requester"},
        {"role": "operator"},
        {"public_key": "5a" * 32},
        {"public_key": "no key"},
        {"protocol": 2},
        {"name": 5},
        {"organisation": None},
        {"signature": ""},
        {"extra": 1},
    ],
    ids=str,
)
def test_a_request_that_was_changed_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    write_request(make_request(Ed25519PrivateKey.generate(), "south", "South", "site"), path)
    assert read_request(path).name == "south"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FederationError) as caught:
        read_request(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "7", "[" * 100_000, "{}", '{"name": "a"' + " " * 20_000 + "}"])
def test_what_is_no_request_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(content)
    with pytest.raises(FederationError, match="no enrolment request"):
        read_request(path)


def test_a_name_is_not_taken_over_by_another_organisation(federation: Federation) -> None:
    coordinator, _ = open_coordinator(federation.folder)
    with pytest.raises(FederationError, match="choose another"):
        coordinator.members.admit(make_request(Ed25519PrivateKey.generate(), "east", "Eve", "site"))
    coordinator.tables.close()


def test_a_certificate_is_renewed_before_it_ends(federation: Federation) -> None:
    member = federation.identities["east"]
    before = member.certificate.read_bytes()
    certify(member.folder)
    assert member.certificate.read_bytes() == before
    for days in (29, -1):
        authority = load_authority(federation.folder / "ca")
        member.certificate.write_bytes(authority.issue("east", public_hex(member.key), days=days))
        certify(member.folder)
        assert days_left(member.certificate.read_bytes()) > 300
        speaks(member.folder)


@pytest.mark.parametrize("content", [b"", b"damaged"])
def test_a_damaged_certificate_is_replaced(content: bytes, federation: Federation) -> None:
    member = federation.identities["east"]
    member.certificate.write_bytes(content)
    certify(member.folder)
    speaks(member.folder)


def test_a_renewal_that_fails_leaves_the_certificate(federation: Federation) -> None:
    member = federation.identities["east"]
    before = member.certificate.read_bytes()
    away = replace(member, url=f"https://127.0.0.1:{free_port()}")
    values = {name: value for name, value in asdict(away).items() if name != "folder"}
    (member.folder / "identity.json").write_text(json.dumps(values))
    with pytest.raises(Fault):
        renew(member.folder)
    assert member.certificate.read_bytes() == before


def test_a_new_key_is_taken_once_it_is_admitted(federation: Federation) -> None:
    member = federation.identities["east"]
    request, path = new_key(member.folder)
    with pytest.raises(AccordError):
        next_certificate(member.folder)
    speaks(member.folder)
    admitted(federation, path)
    with pytest.raises(FederationError, match="not signed by the key"):
        speaks(member.folder)
    take_key(member.folder, next_certificate(member.folder))
    assert public_hex(load_identity(member.folder).key) == request.public_key
    speaks(member.folder)


def test_a_kill_while_a_key_is_put_in_place_does_not_lock_out(federation: Federation) -> None:
    member = federation.identities["east"]
    _, path = new_key(member.folder)
    admitted(federation, path)
    (member.folder / "key.next.pem").replace(member.folder / "key.pem")
    certify(member.folder)
    speaks(member.folder)
