"""What the service refuses: each with one line, and without a change of any table."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import Fault
from accord.transport.frames import pack
from accord.transport.https_client import Client
from accord.transport.keys import sign
from accord.transport.requests import request_headers
from accord.transport.tables import check_journal
from transport.exchange_contract import artefact, job_of
from transport.federations import free_port, make, serving
from transport.service_requests import Service, reason


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    federation = make(tmp_path_factory.mktemp("service"), free_port())
    with serving(federation.folder) as coordinator:
        yield Service(federation, coordinator)


def test_what_is_signed_is_answered(running: Service) -> None:
    assert [site["name"] for site in running.send("ada").json()] == ["east", "north", "west"]
    assert running.send("ada", by_certificate=False).status_code == 200, (
        "signatures are the rule, certificates an option"
    )


def test_nobody_is_answered_without_a_signature(running: Service) -> None:
    with httpx.Client(base_url=running["ada"].url, verify=running["ada"].tls(), trust_env=False) as http:
        assert "protocol none" in reason(http.get("/v1/sites"), 400)
        assert "no member" in reason(http.get("/v1/sites", headers={"x-accord-protocol": "1"}), 401)
        named = {"x-accord-protocol": "1", "x-accord-member": "ada"}
        assert "not signed" in reason(http.get("/v1/sites", headers=named), 401)


def test_anothers_key_or_name_is_refused(running: Service) -> None:
    assert "not signed by the key of ada" in reason(running.send("ada", key=Ed25519PrivateKey.generate()), 401)
    assert "not signed by the key of west" in reason(
        running.send("west", key=running["east"].key, by_certificate=False), 401
    )


def test_anothers_certificate_is_refused(running: Service) -> None:
    told = reason(running.send("west", connected_as="east"), 401)
    assert "certificate is of 'east', the request of 'west'" in told


@pytest.mark.parametrize("what", ["target", "body", "method"])
def test_what_was_changed_on_the_way_is_refused(what: str, running: Service) -> None:
    headers = request_headers(running["west"].key, "west", "POST", "/v1/mail/east", b"for east")
    method, target, body = {
        "target": ("POST", "/v1/mail/north", b"for east"),
        "body": ("POST", "/v1/mail/east", b"of eve"),
        "method": ("PUT", "/v1/mail/east", b"for east"),
    }[what]
    response = running.send("west", method, target, body, headers=headers)
    assert response.status_code in (401, 405)
    assert running.coordinator.mail("east") == []
    assert running.coordinator.mail("north") == []


def test_a_path_that_only_decodes_alike_is_another_request(running: Service) -> None:
    headers = request_headers(running["ada"].key, "ada", "GET", "/v1/sites", b"")
    assert "not signed" in reason(running.send("ada", target="/v1/%73ites", headers=headers), 401)


def test_a_request_counts_once(running: Service) -> None:
    headers = request_headers(running["ada"].key, "ada", "GET", "/v1/sites", b"")
    assert running.send("ada", headers=headers).status_code == 200
    assert "sent before" in reason(running.send("ada", headers=headers), 401)


@pytest.mark.parametrize("nonce", ["", "short", "n" * 65])
def test_a_nonce_has_a_length(nonce: str, running: Service) -> None:
    assert "nonce" in reason(running.send("ada", headers=running.signed_with("ada", nonce=nonce)), 401)


@pytest.mark.parametrize(
    ("ahead", "told"), [(3600.0, "3,600 s ahead"), (-3600.0, "3,600 s behind"), (-61.0, "61 s behind")]
)
def test_a_clock_that_is_off_is_told_by_how_much(ahead: float, told: str, running: Service) -> None:
    headers = running.signed_with("ada", time=f"{time.time() + ahead:.3f}")
    assert f"your clock is {told} of the coordinator's" in re.sub(
        "3,60[01]", "3,600", reason(running.send("ada", headers=headers), 401)
    )


@pytest.mark.parametrize("at", ["nan", "inf", "-inf", "", "soon"])
def test_a_time_that_is_none_is_refused(at: str, running: Service) -> None:
    reason(running.send("ada", headers=running.signed_with("ada", time=at)), 401)


@pytest.mark.parametrize("version", ["0", "2", "1.0", ""])
def test_another_protocol_is_named(version: str, running: Service) -> None:
    told = reason(running.send("ada", headers=running.signed_with("ada", protocol=version)), 400)
    assert told == f"you speak protocol {version or 'none'}, this coordinator 1; update one"


def test_bodies_have_a_size(running: Service) -> None:
    assert "4,194,304 bytes" in reason(running.send("ada", "POST", "/v1/jobs", b"x" * (2**22 + 1)), 413)
    target = f"/v1/artefacts/{'0' * 64}?offset=0&total=99999999"
    assert "8,388,608 bytes" in reason(running.send("ada", "PUT", target, b"x" * (2**23 + 1)), 413)
    assert running.coordinator.artefacts.received("0" * 64, "ada") == (0, False)


def test_an_artefact_has_a_size(running: Service) -> None:
    target = f"/v1/artefacts/{'0' * 64}?offset=0&total={2**31 + 1}"
    assert "larger than 2,147,483,648" in reason(running.send("ada", "PUT", target, b"x"), 400)


@pytest.mark.parametrize(
    ("name", "method", "target"),
    [
        ("ada", "POST", "/v1/leases"),
        ("ada", "POST", "/v1/answers"),
        ("ada", "POST", "/v1/data-sets"),
        ("ada", "GET", "/v1/mail"),
        ("ada", "POST", "/v1/mail/east"),
        ("east", "POST", "/v1/jobs"),
        ("east", "POST", "/v1/tasks"),
        ("east", "POST", "/v1/outcomes"),
        ("east", "POST", "/v1/withdrawals"),
        ("east", "POST", "/v1/collections"),
    ],
)
def test_each_asks_for_its_own(name: str, method: str, target: str, running: Service) -> None:
    assert "only a" in reason(running.send(name, method, target), 403)


DEEP = b'{"a":' * 5000 + b"1" + b"}" * 5000
NESTED = b'{"a":' * 100_000
MALFORMED = {
    "no JSON": ("ada", "/v1/jobs", b"\x80\x04."),
    "JSON nested too deep": ("ada", "/v1/jobs", NESTED),
    "a list": ("ada", "/v1/jobs", b"[]"),
    "no message": ("ada", "/v1/jobs", b"{}"),
    "a message nested too deep": ("ada", "/v1/jobs", b'{"message":' + DEEP + b',"signer":"a","signature":""}'),
    "a frame of nothing": ("ada", "/v1/tasks", b""),
    "a frame that says more than it has": ("ada", "/v1/tasks", b"\xff\xff\xff\xff{}"),
    "a frame nested too deep": ("ada", "/v1/tasks", len(NESTED).to_bytes(4, "big") + NESTED),
    "a frame without parts": ("ada", "/v1/tasks", b"\0\0\0\2{}"),
    "a frame with parts below nothing": ("ada", "/v1/tasks", b"\0\0\0\x10" + b'{"parts":[-1,1]}'),
    "a part that is a pickle": ("ada", "/v1/tasks", pack({"tasks": []}, [b"\x80\x04\x95" + b"." * 40])),
    "tasks that are no list": ("ada", "/v1/tasks", pack({"tasks": 7}, [])),
    "tasks that are texts": ("ada", "/v1/outcomes", b'{"tasks":["a"]}'),
    "a wait that is no number": ("ada", "/v1/outcomes", b'{"tasks":[],"wait_s":NaN}'),
    "a wait that is a text": ("east", "/v1/leases", b'{"wait_s":"1"}'),
    "a collection of nothing": ("ada", "/v1/collections", b"{}"),
    "a round that is huge": ("ada", "/v1/collections", b'{"run":"a","through_round":1e300}'),
    "a renewal of nothing": ("east", "/v1/renewals", b"{}"),
    "an answer of nothing": ("east", "/v1/answers", pack({}, [])),
    "data sets that are a text": ("east", "/v1/data-sets", b'{"names":"a"}'),
    "a lone surrogate": ("ada", "/v1/jobs", b'{"message":{"type":"job","run":"\\ud800"},"signer":"a","signature":"b"}'),
}  # fmt: skip


@pytest.mark.parametrize(("name", "target", "body"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_refused_in_a_line(name: str, target: str, body: bytes, running: Service) -> None:
    before = check_journal(running.coordinator.tables)
    reason(running.send(name, "POST", target, body), 400)
    assert check_journal(running.coordinator.tables) == before


@pytest.mark.parametrize(
    "target",
    [
        "/v1/artefacts/..%2f..%2fcoordinator.json",
        "/v1/artefacts/%2e%2e/coordinator.json",
        "/v1/artefacts/" + "a" * 63,
        "/v1/artefacts/" + "A" * 64,
        f"/v1/artefacts/{'a' * 64}%00",
        f"/v1/artefacts/{'a' * 64}?offset=-1",
        f"/v1/artefacts/{'a' * 64}?offset=x",
    ],
)
def test_a_digest_is_no_path(target: str, running: Service) -> None:
    response = running.send("ada", target=target)
    assert response.status_code in (400, 404)
    assert "name" not in response.json()


def test_nobody_learns_which_artefacts_there_are(running: Service) -> None:
    there = running.coordinator.artefacts.store.put(artefact(3.0))
    answers = [running.send("east", target=f"/v1/artefacts/{digest}") for digest in (there, "0" * 64)]
    assert reason(answers[0], 404) == reason(answers[1], 404)


def test_a_run_has_a_name_of_32_digits(running: Service) -> None:
    for run in ("", "../" * 10 + "ab", "AB" * 16, "ab" * 200):
        signed = sign(running["ada"].key, "ada", replace(job_of(), run=run))
        body = json.dumps(signed.as_json()).encode()
        assert "32 hexadecimal digits" in reason(running.send("ada", "POST", "/v1/jobs", body), 400)


def test_mail_is_bounded(running: Service) -> None:
    assert "larger than" in reason(running.send("east", "POST", "/v1/mail/west", b"x" * (2**20 + 1)), 400)
    for _ in range(64):
        running.coordinator.relay("north", "west", b"x")
    assert "wait already" in reason(running.send("north", "POST", "/v1/mail/west", b"x"), 400)
    assert running.send("east", "POST", "/v1/mail/west", b"x").status_code == 200, "another's mail still arrives"


def test_a_full_database_is_one_line_that_asks_for_patience(running: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        import sqlite3

        import sqlalchemy as sa

        raise sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(running.coordinator.members, "offer_data", full)
    told = reason(running.send("east", "POST", "/v1/data-sets", b'{"names":[]}'), 503)
    assert told == "the coordinator's database: database or disk is full"
    client = Client(running["east"], patience_s=0.2)
    with pytest.raises(Fault, match="disk is full"):
        client.post("/v1/data-sets", {"names": []})
    client.close()


def test_half_an_upload_is_taken_up_by_another_connection(running: Service) -> None:
    content = artefact(8.0, 3_000_000)
    digest = sha256(content).hexdigest()
    total = len(content)
    first = running.send("ada", "PUT", f"/v1/artefacts/{digest}?offset=0&total={total}", content[:5000])
    assert first.json() == {"bytes": 5000, "whole": False}
    client = Client(running["ada"], 5.0)
    assert client.upload(content) == digest
    assert running.coordinator.artefacts.read(digest) == content
    client.close()
