"""Whatever a body is, a route refuses it with 400 and one line, or does what it says: never a fault of its own."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.transport.federation_folder import open_coordinator
from accord.transport.frames import pack
from accord.transport.keys import sign
from accord.transport.messages import Answer, Refusal
from accord.transport.requests import request_headers
from accord.transport.service import make_app
from accord.transport.service_guards import Limiter
from transport.exchange_contract import artefact, job_of, tasks_of
from transport.federations import Federation, make
from transport.postgres_server import new_database

DIGEST = "ab" * 32
ROUTES = {
    "jobs": ("ada", "POST", "/v1/jobs"),
    "tasks": ("ada", "POST", "/v1/tasks"),
    "outcomes": ("ada", "POST", "/v1/outcomes"),
    "withdrawals": ("ada", "POST", "/v1/withdrawals"),
    "collections": ("ada", "POST", "/v1/collections"),
    "leases": ("east", "POST", "/v1/leases"),
    "renewals": ("east", "POST", "/v1/renewals"),
    "answers": ("east", "POST", "/v1/answers"),
    "refusals": ("east", "POST", "/v1/refusals"),
    "data sets": ("east", "POST", "/v1/data-sets"),
    "mail to a site": ("east", "POST", "/v1/mail/west"),
    "mail to nobody": ("east", "POST", "/v1/mail/n%ffbody"),
    "a piece": ("ada", "PUT", f"/v1/artefacts/{DIGEST}?offset=0&total=100"),
}
FRAMES = {"tasks", "answers"}


class Sender:
    """Sends signed requests to a service, without a network."""

    def __init__(self, federation: Federation, app: FastAPI, runner: asyncio.Runner) -> None:
        self.federation, self._runner = federation, runner
        # What a route does not expect is raised here, and fails the test by itself.
        self._transport = httpx.ASGITransport(app)

    def __call__(self, name: str, method: str, target: str, body: bytes) -> httpx.Response:
        url = httpx.URL(f"https://coordinator{target}")
        headers = request_headers(self.federation.identities[name].key, name, method, url.raw_path.decode(), body)

        async def sent() -> httpx.Response:
            request = httpx.Request(method, url, content=body, headers=headers)
            response = await self._transport.handle_async_request(request)
            await response.aread()
            return response

        return self._runner.run(sent())


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def send(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Sender]:
    url = new_database(request.getfixturevalue("postgres_server")) if request.param == "postgres" else ""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    federation = make(folder, 1, database=url)
    coordinator, authority = open_coordinator(federation.folder)
    app = make_app(coordinator, authority, Limiter(rate=1e9, burst=1e9))
    with asyncio.Runner() as runner:
        yield Sender(federation, app, runner)
    coordinator.tables.close()


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=True), st.sampled_from([2**53, 2**63, 2**64, 10**400, -1, 1e308])
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "\0", "\ud800", "a" * 300, DIGEST, "ab" * 16, "../x", "east", "ada", "train", "job", "task"]),
)
MESSAGE = ("message", "signer", "signature", "type", "run", "site", "sites", "round", "call", "kind", "work", "inputs")
BODY = ("task", "tasks", "outcome", "fence", "wait_s", "names", "parts", "through_round", "values", "deadline_s", "job")
REST = ("study", "code", "result", "epsilon", "line", "head", "reason", "protocol")
KEYS = st.sampled_from(MESSAGE + BODY + REST)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(KEYS, TEXTS), inner, max_size=6)),
    max_leaves=12,
)


def well_formed(federation: Federation) -> dict[str, Any]:
    """Returns bodies that are right, to be spoilt in one place."""
    ada, east = (federation.identities[name].key for name in ("ada", "east"))
    task = sign(ada, "ada", tasks_of(1, b"", ("east",))[0])
    about = (task.message.digest(), "east", task.message.run, 1, 0)
    answer = sign(east, "east", Answer(*about, "train", "", {"steps": 1}, 0.5, 7, DIGEST))
    refusal = sign(east, "east", Refusal(*about, "budget", "spent", 7, DIGEST))
    return {
        "jobs": sign(ada, "ada", job_of()).as_json(),
        "tasks": {"tasks": [task.as_json()]},
        "outcomes": {"tasks": [task.as_json()], "wait_s": 0.0},
        "withdrawals": {"tasks": [task.as_json()]},
        "collections": {"run": job_of().run, "through_round": 1},
        "leases": {"wait_s": 0.0},
        "renewals": {"task": task.as_json(), "fence": 1},
        "answers": {"task": task.as_json(), "fence": 1, "outcome": answer.as_json()},
        "refusals": {"task": task.as_json(), "fence": 1, "outcome": refusal.as_json()},
        "data sets": {"names": ["stays"]},
    }


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields every place in a value."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*at, key))


def spoilt(value: Any, at: tuple[Any, ...], other: Any, *, drop: bool) -> Any:
    """Returns a value with another in one place, or without it."""
    if not at:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    if drop and len(at) == 1:
        del copy[at[0]]
    else:
        copy[at[0]] = spoilt(copy[at[0]], at[1:], other, drop=drop)
    return copy


def is_answered(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.status_code in (400, 404), response.text
        told = response.json()["error"]
        assert "\n" not in told
        assert 0 < len(told) < 1000


def encoded(value: Any, name: str) -> bytes:
    if name in FRAMES and isinstance(value, dict):
        return pack(value, [])
    return json.dumps(value).encode()


FUZZED = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("name", ROUTES)
@given(data=st.data())
@FUZZED
def test_any_value_is_answered_in_a_line(name: str, data: st.DataObject, send: Sender) -> None:
    is_answered(send(*ROUTES[name], encoded(data.draw(VALUES), name)))


@pytest.mark.parametrize("name", ROUTES)
@given(body=st.binary(max_size=200))
@FUZZED
def test_any_bytes_are_answered_in_a_line(name: str, body: bytes, send: Sender) -> None:
    is_answered(send(*ROUTES[name], body))


@pytest.mark.parametrize(
    "name", [name for name in ROUTES if name not in ("mail to a site", "mail to nobody", "a piece")]
)
@given(data=st.data())
@FUZZED
def test_a_message_that_is_spoilt_in_one_place_is_answered_in_a_line(
    name: str, data: st.DataObject, send: Sender
) -> None:
    right = well_formed(send.federation)[name]
    at = data.draw(st.sampled_from(list(places(right))))
    wrong = spoilt(right, at, data.draw(VALUES), drop=data.draw(st.booleans()))
    is_answered(send(*ROUTES[name], encoded(wrong, name)))


DEEP = {
    "lists": b"[" * 100_000,
    "objects": b'{"tasks":' * 100_000,
    "a list within": b'{"tasks":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a huge number": b'{"fence":' + b"9" * 10_000 + b"}",
    "no number": b'{"wait_s":NaN,"through_round":Infinity,"fence":-Infinity}',
    "Latin-1": '{"names":["caf\xe9"]}'.encode("latin-1"),
    "UTF-16": '{"names":["a"]}'.encode("utf-16"),
    "a surrogate": b'{"names":["\\ud800"],"run":"\\ud800","through_round":1,"tasks":["\\udfff"]}',
    "a zero byte": b'{"names":["\\u0000"],"run":"\\u0000","through_round":1}',
    "a list": b"[]",
    "a key twice": b'{"wait_s":0,"wait_s":"a"}',
    "nothing": b"",
}


@pytest.mark.parametrize("body", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("name", ROUTES)
def test_what_parsers_stumble_over_is_answered_in_a_line(name: str, body: bytes, send: Sender) -> None:
    is_answered(send(*ROUTES[name], body))
    if name in FRAMES:
        is_answered(send(*ROUTES[name], len(body).to_bytes(4, "big") + body))


@given(
    offset=st.one_of(
        st.integers(-(2**70), 2**70).map(str), st.sampled_from(["", "x", "1.5", "NaN", "%00", "1&offset=2"])
    ),
    total=st.one_of(st.integers(-(2**70), 2**70).map(str), st.sampled_from(["", "x"])),
    digest=st.sampled_from([DIGEST, "0" * 63, "%ff", "..%2f", "%00" * 64, "A" * 64]),
)
@FUZZED
def test_any_piece_is_answered_in_a_line(offset: str, total: str, digest: str, send: Sender) -> None:
    is_answered(send("ada", "PUT", f"/v1/artefacts/{digest}?offset={offset}&total={total}", artefact(1.0)))
    is_answered(send("ada", "GET", f"/v1/artefacts/{digest}?offset={offset}", b""))
    is_answered(send("ada", "GET", f"/v1/artefacts/{digest}/received", b""))
    is_answered(send("east", "GET", f"/v1/mail?through={offset}", b""))
