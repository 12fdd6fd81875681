"""The client loses nothing where replies are lost, and believes a coordinator no more than it must."""

import gzip
import itertools
import json
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from accord.core.errors import AccordError, Fault, FederationError
from accord.transport import https_client
from accord.transport.frames import CONTENT_TYPE, pack
from accord.transport.https_client import Client
from accord.transport.https_exchange import HttpsRequester, HttpsSite
from accord.transport.identity import Identity
from accord.transport.keys import sign
from accord.transport.service_limits import PIECE, TOTAL
from transport.exchange_contract import RUN, answer_of, artefact, job_of, leased, tasks_of
from transport.federations import Federation, free_port, make, serving


class Lossy(httpx.BaseTransport):
    """Sends every request on, and loses every other reply after it was sent."""

    def __init__(self, identity: Identity) -> None:
        self._inner = httpx.HTTPTransport(verify=identity.tls())
        self._number = itertools.count()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        if next(self._number) % 2 == 0:
            response.read()
            response.close()
            raise httpx.ReadError("the reply was lost", request=request)
        return response

    def close(self) -> None:
        self._inner.close()


class Faked(httpx.BaseTransport):
    """Answers as a coordinator's connection would: as a stream that is not read yet."""

    def __init__(self, handler: "Handler") -> None:
        self._handler = handler

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        made = self._handler(request)
        return httpx.Response(made.status_code, headers=made.headers, stream=made.stream)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return make(tmp_path, free_port())


Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def identities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    return make(tmp_path_factory.mktemp("members"), 1).identities


def faked(identity: Identity, handler: Handler) -> Client:
    return Client(identity, 0.1, Faked(handler))


def test_a_round_survives_lost_replies(federation: Federation) -> None:
    members, large = federation.identities, artefact(2.0, 3_000_000)
    with serving(federation.folder) as coordinator:
        requester = HttpsRequester(members["ada"], 5.0, Lossy(members["ada"]))
        site = HttpsSite(members["east"], 5.0, Lossy(members["east"]))
        requester.submit(job_of())
        tasks = tasks_of(1, large, ("east",))
        requester.offer(tasks, large)
        lease = leased(site)
        assert site.fetch(lease.task.message.inputs) == large
        signed = sign(members["east"].key, "east", answer_of(lease, large))
        receipt = site.answer(lease, signed, large)
        assert site.answer(lease, signed, large) == receipt
        assert requester.wait(tasks, 1, 5.0)["east"] == signed
        assert requester.fetch(sha256(large).hexdigest()) == large
        requester.collect(RUN, 1)
        states = coordinator.outcomes("ada", tasks)
        assert len(states) == 1
        requester.close()
        site.close()


def test_a_piece_whose_reply_was_lost_is_not_sent_twice(federation: Federation) -> None:
    content = artefact(1.0, 5_000_000)
    assert len(content) > 2 * PIECE
    with serving(federation.folder) as coordinator:
        client = Client(federation.identities["ada"], 5.0, Lossy(federation.identities["ada"]))
        digest = client.upload(content)
        assert client.upload(content) == digest, "what is there is not sent again"
        client.close()
        assert coordinator.artefacts.read(digest) == content


def test_a_download_goes_on_where_it_broke(identities: dict[str, Identity]) -> None:
    content = artefact(1.0, 5_000_000)
    asked: list[int] = []

    def pieces(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params["offset"])
        asked.append(offset)
        if len(asked) == 2:
            raise httpx.ReadError("broken", request=request)
        return httpx.Response(200, content=content[offset : offset + PIECE], headers={TOTAL: str(len(content))})

    client = faked(identities["ada"], pieces)
    assert client.download(sha256(content).hexdigest()) == content
    assert asked == [0, PIECE, PIECE, 2 * PIECE]
    client.close()


BAD_PIECES: dict[str, Handler] = {
    "another artefact": lambda request: httpx.Response(200, content=b"other", headers={TOTAL: "5"}),
    "nothing more": lambda request: httpx.Response(200, content=b"", headers={TOTAL: "5"}),
    "exabytes": lambda request: httpx.Response(200, content=b"x", headers={TOTAL: str(2**60)}),
    "no size": lambda request: httpx.Response(200, content=b"x"),
    "a size that is a text": lambda request: httpx.Response(200, content=b"x", headers={TOTAL: "much"}),
    "more than a piece": lambda request: httpx.Response(200, content=b"x" * 2**25, headers={TOTAL: "5"}),
}


@pytest.mark.parametrize("handler", BAD_PIECES.values(), ids=BAD_PIECES)
def test_an_artefact_is_believed_by_its_digest_alone(handler: Handler, identities: dict[str, Identity]) -> None:
    client = faked(identities["east"], handler)
    with pytest.raises(FederationError):
        client.download("0" * 64)
    client.close()


JUNK: dict[str, Handler] = {
    "no JSON": lambda request: httpx.Response(200, content=b"\x80\x04."),
    "a list": lambda request: httpx.Response(200, json=[]),
    "a number": lambda request: httpx.Response(200, json=7),
    "a text": lambda request: httpx.Response(200, json="task"),
    "other keys": lambda request: httpx.Response(200, json={"a": 1}),
    "JSON nested too deep": lambda request: httpx.Response(200, content=b"[" * 100_000),
    "half a frame": lambda request: httpx.Response(
        200, content=b"\0\0\xff\xff{", headers={"content-type": CONTENT_TYPE}
    ),
    "a frame of nothing": lambda request: httpx.Response(
        200, content=pack({}, []), headers={"content-type": CONTENT_TYPE}
    ),
    "a task that is a text": lambda request: httpx.Response(
        200, json={"task": "a", "job": "b", "fence": 1, "expires_s": 30}
    ),
    "compressed": lambda request: httpx.Response(
        200, content=gzip.compress(b"0" * 10_000_000), headers={"content-encoding": "gzip"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("handler", JUNK.values(), ids=JUNK)
def test_junk_from_a_coordinator_is_an_error_that_agents_know(
    handler: Handler, identities: dict[str, Identity]
) -> None:
    site = HttpsSite(identities["east"], 0.1, Faked(handler))
    requester = HttpsRequester(identities["ada"], 0.1, Faked(handler))
    with pytest.raises(AccordError):
        site.lease(0.0)
    calls: list[Callable[[], object]] = [
        lambda: requester.wait(tasks_of(1, b""), 3, 0.0),
        lambda: requester.fetch("0" * 64),
    ]
    for call in calls:
        with pytest.raises(AccordError):
            call()
    site.close()
    requester.close()


def test_a_response_without_end_is_left(identities: dict[str, Identity]) -> None:
    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 2**20

    client = faked(identities["east"], lambda request: httpx.Response(200, stream=Endless()))
    with pytest.raises(FederationError, match="at once"):
        client.call("GET", "/v1/sites")
    client.close()


def test_a_response_that_drips_is_left(identities: dict[str, Identity], monkeypatch: pytest.MonkeyPatch) -> None:
    class Dripping(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x"

    monkeypatch.setattr(https_client, "_RESPONSE_S", 0.05)
    client = faked(identities["east"], lambda request: httpx.Response(200, stream=Dripping()))
    with pytest.raises(Fault, match="too slowly"):
        client.call("GET", "/v1/sites")
    client.close()


def test_a_coordinator_that_does_not_wait_is_not_asked_without_pause(identities: dict[str, Identity]) -> None:
    asked: list[float] = []

    def nothing(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["wait_s"])
        return httpx.Response(204)

    site = HttpsSite(identities["east"], 0.1, Faked(nothing))
    began = time.monotonic()
    assert site.lease(20.0) is None
    assert time.monotonic() - began > 0.9
    assert site.lease(0.0) is None
    assert time.monotonic() - began < 1.5
    assert asked == [20.0, 0.0]
    site.close()


def test_an_upload_that_gets_nowhere_ends(identities: dict[str, Identity]) -> None:
    client = faked(identities["east"], lambda request: httpx.Response(200, json={"bytes": 0, "whole": False}))
    with pytest.raises(FederationError, match="takes no more"):
        client.upload(artefact(1.0))
    client.close()


def test_each_try_is_signed_anew(identities: dict[str, Identity]) -> None:
    nonces: list[str] = []

    def busy(request: httpx.Request) -> httpx.Response:
        nonces.append(request.headers["x-accord-nonce"])
        return httpx.Response(429 if len(nonces) < 3 else 200, json={"error": "slow down"})

    client = Client(identities["ada"], 5.0, Faked(busy))
    assert client.call("GET", "/v1/sites").status_code == 200
    assert len(set(nonces)) == 3
    client.close()


def test_a_refusal_is_told_once(identities: dict[str, Identity]) -> None:
    asked: list[int] = []

    def refused(request: httpx.Request) -> httpx.Response:
        asked.append(1)
        return httpx.Response(401, json={"error": "your clock is 3,600 s behind the coordinator's; set it (NTP)"})

    client = Client(identities["ada"], 60.0, Faked(refused))
    with pytest.raises(FederationError, match="clock is 3,600 s behind"):
        client.call("GET", "/v1/sites")
    assert len(asked) == 1
    client.close()


def test_another_authoritys_coordinator_is_not_spoken_to(federation: Federation, tmp_path: Path) -> None:
    port = free_port()
    imposter = make(tmp_path / "imposter", port)
    with serving(imposter.folder):
        member = federation.identities["east"]
        fooled = Identity(member.folder, member.name, member.organisation, member.role, f"https://127.0.0.1:{port}")
        client = Client(fooled, 0.1)
        with pytest.raises(Fault, match="certificate verify failed"):
            client.call("GET", "/v1/sites")
        client.close()
