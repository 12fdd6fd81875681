"""A requester trusts a site's key once, and from then on believes no other."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import FederationError
from accord.transport.enrolment import make_request, read_request, write_request
from accord.transport.exchange import SiteState, Succession
from accord.transport.https_exchange import HttpsRequester
from accord.transport.joining import new_key, next_certificate, take_key, trust_site
from accord.transport.keys import fingerprint, public_hex
from accord.transport.pins import PINS, check_pins, trust
from transport.federations import free_port, make, serving

OLD, NEW, NEWER = (Ed25519PrivateKey.generate() for _ in range(3))


def state(key: Ed25519PrivateKey, *links: Succession | None) -> SiteState:
    return SiteState("east", ("stays",), None, public_hex(key), tuple(link for link in links if link))


def link(before: Ed25519PrivateKey, key: Ed25519PrivateKey, name: str = "east") -> Succession | None:
    return make_request(key, name, "e", "site", before).succession


def test_a_key_is_trusted_on_first_use_and_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_pins(tmp_path / PINS, [state(OLD)])
        check_pins(tmp_path / PINS, [state(OLD)])
    assert [fingerprint(public_hex(OLD)) in each.getMessage() for each in caplog.records] == [True]
    kept = json.loads((tmp_path / PINS).read_text())["east"]
    assert (kept["fingerprint"], kept["by"]) == (fingerprint(public_hex(OLD)), "first use")


def test_a_key_that_changed_is_refused(tmp_path: Path) -> None:
    check_pins(tmp_path / PINS, [state(OLD)])
    before = (tmp_path / PINS).read_bytes()
    with pytest.raises(FederationError, match="east: its key has changed") as caught:
        check_pins(tmp_path / PINS, [state(NEW)])
    assert f"accord federation trust east --fingerprint {fingerprint(public_hex(NEW))}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / PINS).read_bytes() == before


def test_a_key_that_the_old_one_signed_for_is_trusted(tmp_path: Path) -> None:
    check_pins(tmp_path / PINS, [state(OLD)])
    # Also after two renewals of which the requester saw none.
    check_pins(tmp_path / PINS, [state(NEWER, link(OLD, NEW), link(NEW, NEWER))])
    check_pins(tmp_path / PINS, [state(NEWER)])
    with pytest.raises(FederationError, match="has changed"):
        check_pins(tmp_path / PINS, [state(OLD)])


@pytest.mark.parametrize(
    "links",
    [
        lambda: [link(NEW, NEW)],
        lambda: [Succession(public_hex(OLD), public_hex(NEW), "00" * 64)],
        lambda: [Succession(public_hex(OLD), public_hex(NEW), "no signature")],
        lambda: [link(OLD, NEW, "west")],
        lambda: [link(OLD, NEWER)],
        lambda: [link(NEWER, NEW)],
    ],
    ids=["signed by the new key", "not signed", "no signature", "for another site", "of another key", "by another key"],
)
def test_a_statement_that_the_old_key_did_not_sign_changes_nothing(
    links: Callable[[], list[Succession | None]], tmp_path: Path
) -> None:
    check_pins(tmp_path / PINS, [state(OLD)])
    with pytest.raises(FederationError, match="has changed"):
        check_pins(tmp_path / PINS, [state(NEW, *links())])


def test_a_fingerprint_that_was_given_holds_from_the_first_use(tmp_path: Path) -> None:
    assert trust(tmp_path / PINS, "east", fingerprint(public_hex(OLD)).upper().replace("-", " "))
    with pytest.raises(FederationError, match="has changed"):
        check_pins(tmp_path / PINS, [state(NEW)])
    check_pins(tmp_path / PINS, [state(OLD)])
    check_pins(tmp_path / PINS, [state(NEW, link(OLD, NEW))])
    trust(tmp_path / PINS, "east", fingerprint(public_hex(NEWER)))
    check_pins(tmp_path / PINS, [state(NEWER)])


@pytest.mark.parametrize(("name", "shown"), [("east", "6668-7aad"), ("east", "x" * 32), ("../east", "0" * 32)])
def test_what_is_no_fingerprint_is_refused(name: str, shown: str, tmp_path: Path) -> None:
    with pytest.raises(FederationError, match=r"name|fingerprint"):
        trust(tmp_path / PINS, name, shown)
    assert not (tmp_path / PINS).exists()


@pytest.mark.parametrize("content", ["", "[]", "7", '{"east": 1}', '{"east": {"fingerprint": 7, "key": ""}}'])
def test_a_damaged_file_trusts_nobody(content: str, tmp_path: Path) -> None:
    (tmp_path / PINS).write_text(content)
    with pytest.raises(FederationError, match="trusted keys cannot be read"):
        check_pins(tmp_path / PINS, [state(OLD)])


def test_a_request_whose_handover_is_anothers_is_refused(tmp_path: Path) -> None:

    request = make_request(NEW, "east", "e", "site", OLD)
    write_request(replace(request, before=public_hex(NEWER)), tmp_path / "r.json")
    with pytest.raises(FederationError, match="key so far did not sign"):
        read_request(tmp_path / "r.json")


def test_a_renewed_key_is_trusted_and_an_exchanged_one_is_not(tmp_path: Path) -> None:
    federation = make(tmp_path, free_port())
    ada, east = federation.identities["ada"], federation.identities["east"]
    with serving(federation.folder) as coordinator:
        requester = HttpsRequester(ada, 5.0)
        first = {site.name: site.public_key for site in requester.sites()}
        _, path = new_key(east.folder)
        coordinator.members.admit(read_request(path))
        take_key(east.folder, next_certificate(east.folder))
        assert {site.name: site.public_key for site in requester.sites()}["east"] != first["east"]
        # The coordinator's own hand: no request of the site's.
        coordinator.members.admit(make_request(NEWER, "west", "west's", "site"))
        with pytest.raises(FederationError, match="west: its key has changed"):
            requester.sites()
        trust_site(ada.folder, "west", fingerprint(public_hex(NEWER)))
        with pytest.raises(FederationError, match="not the folder of a person"):
            trust_site(east.folder, "west", fingerprint(public_hex(NEWER)))
        assert len(requester.sites()) == 3
        requester.close()
