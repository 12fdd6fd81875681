"""What the service does about members and strangers over time: revoked, too many, too slow, restarted."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from accord.core.errors import FederationError
from accord.transport import server, service, service_auth
from accord.transport.https_exchange import HttpsRequester, HttpsSite
from accord.transport.requests import request_headers
from accord.transport.service_guards import Held, Limiter
from transport.exchange_contract import job_of, tasks_of
from transport.federations import free_port, make, serving
from transport.service_requests import Service, reason


def test_a_revoked_member_is_refused_at_once(tmp_path: Path) -> None:
    federation = make(tmp_path, free_port())
    with serving(federation.folder) as coordinator:
        site, requester = HttpsSite(federation.identities["east"]), HttpsRequester(federation.identities["ada"], 5.0)
        errors: list[str] = []

        def held() -> None:
            try:
                site.lease(10.0)
            except FederationError as error:
                errors.append(str(error))

        waiting = threading.Thread(target=held)
        waiting.start()
        while coordinator.members.sites()[0].seen_s is None:
            time.sleep(0.01)
        coordinator.members.revoke("east")
        requester.submit(job_of())
        requester.offer(tasks_of(1, b"", ("east",)))
        waiting.join(10.0)
        assert "revoked" in errors[0], "its request was open since before"
        with pytest.raises(FederationError, match="revoked"):
            site.lease(0.0)
        assert [state.name for state in requester.sites()] == ["north", "west"]
        site.close()
        requester.close()


def test_a_connection_needs_a_certificate_where_that_is_set(tmp_path: Path) -> None:
    federation = make(tmp_path, free_port(), require_certificates=True)
    with serving(federation.folder) as coordinator:
        service = Service(federation, coordinator)
        assert service.send("ada").status_code == 200
        with pytest.raises(httpx.HTTPError):
            service.send("ada", by_certificate=False)
        other = make(tmp_path / "other", 1)
        foreign = replace(federation.identities["ada"], folder=other.identities["ada"].folder)
        context = ssl.create_default_context(cafile=str(federation.folder / "ca" / "certificate.pem"))
        context.load_cert_chain(foreign.folder / "certificate.pem", foreign.folder / "key.pem")
        with (
            httpx.Client(base_url=foreign.url, verify=context, trust_env=False) as http,
            pytest.raises(httpx.HTTPError),
        ):
            http.get("/v1/authority")


def test_a_nonce_outlives_a_restart(tmp_path: Path) -> None:
    federation = make(tmp_path, free_port())
    headers = request_headers(federation.identities["ada"].key, "ada", "GET", "/v1/sites", b"")
    with serving(federation.folder) as coordinator:
        assert Service(federation, coordinator).send("ada", headers=headers).status_code == 200
    with serving(federation.folder) as coordinator:
        assert "sent before" in reason(Service(federation, coordinator).send("ada", headers=headers), 401)


def test_a_rate_is_kept_for_each_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "Limiter", lambda: Limiter(rate=0.001, burst=3))
    federation = make(tmp_path, free_port())
    with serving(federation.folder) as coordinator:
        running = Service(federation, coordinator)
        assert [running.send("ada").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
        assert "ada asks too often" in reason(running.send("ada"), 429)
        forged = [running.send("east", key=running["ada"].key, by_certificate=False).status_code for _ in range(5)]
        assert forged == [401] * 5
        assert running.send("east").status_code == 200, "nobody uses up another's rate"


def test_a_bucket_fills_again() -> None:
    limiter = Limiter(rate=50.0, burst=2)
    assert [limiter.allows("a") for _ in range(3)] == [True, True, False]
    time.sleep(0.05)
    assert limiter.allows("a")


def test_requests_that_are_held_open_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "Held", lambda: Held(2))
    federation = make(tmp_path, free_port())
    with serving(federation.folder) as coordinator:
        running = Service(federation, coordinator)
        waiting = [
            threading.Thread(target=running.send, args=("east", "POST", "/v1/leases", b'{"wait_s":1.5}'))
            for _ in range(2)
        ]
        for each in waiting:
            each.start()
        time.sleep(0.5)
        assert "holds 2 requests open" in reason(running.send("east", "POST", "/v1/leases", b'{"wait_s":1}'), 429)
        assert running.send("west", "POST", "/v1/leases", b'{"wait_s":0}').status_code == 204
        for each in waiting:
            each.join()
        assert running.send("east", "POST", "/v1/leases", b'{"wait_s":0}').status_code == 204


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(service_auth, "BODY_S", 0.5)
    monkeypatch.setattr(server, "BODY_S", 0.5)
    monkeypatch.setattr(server, "HEAD_S", 0.5)
    monkeypatch.setattr(server, "_LOOK_S", 0.05)
    federation = make(tmp_path, free_port())
    with serving(federation.folder) as coordinator:
        yield Service(federation, coordinator)


def opened(running: Service, name: str = "east") -> ssl.SSLSocket:
    port = int(running[name].url.rpartition(":")[2])
    return (
        running[name].tls().wrap_socket(socket.create_connection(("127.0.0.1", port), 5), server_hostname="127.0.0.1")
    )


@pytest.mark.parametrize("sent", [b"", b"GET /v1/sites HTTP/1.1\r\nhost: a\r\n"])
def test_who_sends_half_a_head_is_cut_off(sent: bytes, hasty: Service) -> None:
    with opened(hasty) as connection:
        began = time.monotonic()
        connection.sendall(sent)
        assert connection.recv(100) == b""
        assert 0.4 < time.monotonic() - began < 3


def test_who_sends_half_a_body_is_told_so(hasty: Service) -> None:
    body = b'{"wait_s":0}'
    headers = request_headers(hasty["east"].key, "east", "POST", "/v1/leases", body)
    head = "".join(f"{name}: {value}\r\n" for name, value in {"host": "a", "content-length": "12", **headers}.items())
    with opened(hasty) as connection:
        connection.sendall(f"POST /v1/leases HTTP/1.1\r\n{head}\r\n".encode() + body[:5])
        answer = connection.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not arrive within" in answer + connection.recv(10_000)


def test_who_goes_on_sending_after_a_refusal_is_cut_off(hasty: Service) -> None:
    with opened(hasty) as connection:
        connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nhost: a\r\ncontent-length: 999999999\r\n\r\nx")
        assert connection.recv(10_000).startswith(b"HTTP/1.1 400")

        def go_on() -> None:
            end = time.monotonic() + 5
            while time.monotonic() < end:
                connection.sendall(b"x" * 1000)
                time.sleep(0.02)

        with pytest.raises(OSError):  # noqa: PT011 - whichever of reset and broken pipe comes first
            go_on()


def test_a_connection_that_is_kept_alive_serves_on(hasty: Service) -> None:
    with httpx.Client(base_url=hasty["ada"].url, verify=hasty["ada"].tls(), trust_env=False) as http:
        for _ in range(3):
            headers = request_headers(hasty["ada"].key, "ada", "GET", "/v1/sites", b"")
            assert http.get("/v1/sites", headers=headers).status_code == 200
            time.sleep(0.8)


def test_a_held_request_is_not_cut_off(hasty: Service) -> None:
    assert hasty.send("east", "POST", "/v1/leases", b'{"wait_s":2}').status_code == 204
