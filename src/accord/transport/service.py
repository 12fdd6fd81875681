"""The coordinator as an HTTPS service. Sites and requesters call it; it calls nobody.

Every request is signed (`requests`). Its signature is verified before its body is read, its nonce is used once, and its
size and rate are bounded. Whoever waits for work or for answers holds a request open, for 20 seconds at most.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from accord.transport import requests
from accord.transport.artefacts import check_digest
from accord.transport.coordinator import Coordinator, Finished, status_of
from accord.transport.frames import CONTENT_TYPE, pack, unpack
from accord.transport.holdings import SMALL, Arrived
from accord.transport.keys import Authority
from accord.transport.membership import Member
from accord.transport.messages import PROTOCOL, Answer, Job, Refusal, Task, from_json
from accord.transport.service_auth import authenticate, read_body, use_nonce
from accord.transport.service_guards import Held, Limiter, Together, Wake, tell_errors
from accord.transport.service_limits import INLINE, MOST_JSON, MOST_WAIT_S, PIECE, TOTAL

Number = Annotated[int, Query(ge=0, lt=2**53)]
"""A count in a query."""
_LOG = logging.getLogger("uvicorn.error")
_SWEEP_S = 3600.0


@dataclass(frozen=True)
class Caller:
    """Who sends a request, and what.

    Attributes:
        member: the sender, whose signature was verified.
        body: the request's body.
    """

    member: Member
    body: bytes

    def json(self) -> dict[str, Any]:
        """Returns the body as a JSON object."""
        try:
            value = json.loads(self.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, "the body is not JSON") from error
        if not isinstance(value, dict):
            raise HTTPException(400, "the body is no JSON object")
        return value

    def frame(self) -> tuple[dict[str, Any], list[bytes]]:
        """Returns the body as JSON and artefacts."""
        return unpack(self.body)

    def must_be(self, role: str) -> None:
        """Refuses members of another role."""
        if self.member.role != role:
            raise HTTPException(403, f"{self.member.name} is a {self.member.role}; only a {role} may ask this")


def make_app(coordinator: Coordinator, authority: Authority, limiter: Limiter | None = None) -> FastAPI:
    """Builds the service of a coordinator.

    Args:
        coordinator: keeps the books. Its `changed` is replaced by one that wakes those that wait here.
        authority: issues members' certificates.
        limiter: bounds the rate of each member's requests.
    """
    app = FastAPI(
        title="Accord coordinator", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_sweeping(coordinator)
    )
    wake, limits = Wake(), limiter or Limiter()
    coordinator.changed = wake

    held, together = Held(), Together[Finished](coordinator.tables.change)
    tell_errors(app)

    async def signed(request: Request, most: int) -> Caller:
        member = authenticate(coordinator, request)
        if not limits.allows(member.name):
            raise HTTPException(429, f"{member.name} asks too often; slow down")
        use_nonce(coordinator, request, member.name)
        body = await read_body(request, most)
        if sha256(body).hexdigest() != request.headers.get(requests.DIGEST, ""):
            raise HTTPException(401, "the body is not the one that was signed")
        return Caller(member, body)

    async def small(request: Request) -> Caller:
        return await signed(request, MOST_JSON)

    async def piece(request: Request) -> Caller:
        return await signed(request, PIECE)

    async def framed(request: Request) -> Caller:
        return await signed(request, INLINE + MOST_JSON)

    Small = Annotated[Caller, Depends(small)]  # noqa: N806 - a type
    Framed = Annotated[Caller, Depends(framed)]  # noqa: N806 - a type
    Piece = Annotated[Caller, Depends(piece)]  # noqa: N806 - a type

    @app.get("/v1/authority")
    async def certificate_of_authority() -> dict[str, Any]:
        from cryptography.hazmat.primitives.serialization import Encoding

        text = authority.certificate.public_bytes(Encoding.PEM).decode()
        return {"authority": text, "coordinator": coordinator.public_key, "protocol": PROTOCOL}

    @app.get("/v1/certificate")
    async def own_certificate(caller: Small) -> Response:
        return Response(authority.issue(caller.member.name, caller.member.public_key), media_type="text/plain")

    @app.get("/v1/status")
    async def status(caller: Small) -> Any:
        return dict(status_of(coordinator))

    @app.get("/v1/sites")
    async def sites(caller: Small) -> Any:
        return [asdict(site) for site in coordinator.members.sites()]

    @app.post("/v1/data-sets")
    async def data_sets(caller: Small) -> Any:
        caller.must_be("site")
        names = caller.json().get("names")
        if not isinstance(names, list) or not all(isinstance(name, str) and len(name) <= 100 for name in names):
            raise HTTPException(400, "names must be a list of short texts")
        coordinator.members.offer_data(caller.member.name, names)
        return {}

    @app.post("/v1/jobs")
    async def submit(caller: Small) -> Any:
        caller.must_be("requester")
        coordinator.submit(caller.member.name, from_json(caller.json(), Job))
        return {}

    @app.post("/v1/tasks")
    async def offer(caller: Framed) -> Any:
        caller.must_be("requester")
        asked, parts = caller.frame()
        tasks = [from_json(each, Task) for each in _list(asked, "tasks")]
        coordinator.offer(caller.member.name, tasks, await _arrived(coordinator, caller, parts))
        return {}

    @app.post("/v1/outcomes")
    async def outcomes(caller: Small) -> Any:
        caller.must_be("requester")
        asked = caller.json()
        tasks = [from_json(each, Task).message for each in _list(asked, "tasks")]
        wanted = len(tasks)

        async def all_there() -> dict[str, Any] | None:
            found = coordinator.outcomes(caller.member.name, tasks)
            return found if len(found) == wanted else None

        with held.one_of(caller.member.name):
            done = await _wait(wake, caller.member.name, _seconds(asked), all_there)
        found = done or coordinator.outcomes(caller.member.name, tasks)
        results = [str(each["message"].get("result", "")) for each in found.values()]
        # Results come along once all are there, as long as they are small; others are fetched one by one.
        parts = coordinator.artefacts.together(results, INLINE) if len(found) == wanted else []
        return Response(pack({"outcomes": found}, parts), media_type=CONTENT_TYPE)

    @app.post("/v1/withdrawals")
    async def withdraw(caller: Small) -> Any:
        caller.must_be("requester")
        tasks = [from_json(each, Task).message for each in _list(caller.json(), "tasks")]
        coordinator.withdraw(caller.member.name, tasks)
        return {}

    @app.post("/v1/collections")
    async def collect(caller: Small) -> Any:
        caller.must_be("requester")
        asked = caller.json()
        return {
            "deleted": coordinator.collect(caller.member.name, str(asked.get("run")), _count(asked, "through_round"))
        }

    @app.post("/v1/leases")
    async def lease(caller: Small) -> Any:
        caller.must_be("site")
        site = caller.member.name
        coordinator.members.seen(site)

        async def next_task() -> dict[str, Any] | None:
            return coordinator.lease(site)

        with held.one_of(site):
            found = await _wait(wake, site, _seconds(caller.json()), next_task)
        if found is None:
            return Response(status_code=204)
        parts = coordinator.artefacts.together([str(found["task"]["message"]["inputs"])], INLINE)
        return Response(pack(found, parts), media_type=CONTENT_TYPE)

    @app.post("/v1/renewals")
    async def renew(caller: Small) -> Any:
        caller.must_be("site")
        asked = caller.json()
        task = from_json(asked.get("task"), Task).message
        return {"held": coordinator.renew(caller.member.name, task, _count(asked, "fence"))}

    @app.post("/v1/answers")
    async def answer(caller: Framed) -> Any:
        caller.must_be("site")
        asked, parts = caller.frame()
        return await finish(caller, asked, Answer, await _arrived(coordinator, caller, parts))

    @app.post("/v1/refusals")
    async def refuse(caller: Small) -> Any:
        return await finish(caller, caller.json(), Refusal, [])

    async def finish(
        caller: Caller, asked: dict[str, Any], kind: type[Answer] | type[Refusal], arrived: list[Arrived]
    ) -> Any:
        caller.must_be("site")
        task = from_json(asked.get("task"), Task).message
        outcome: Any = from_json(asked.get("outcome"), kind)
        site, fence = caller.member.name, _count(asked, "fence")
        finished = await together(coordinator.finishing(site, task, fence, outcome, arrived))
        coordinator.changed((finished.requester,))
        return {"receipt": None if finished.receipt is None else finished.receipt.as_json()}

    @app.post("/v1/mail/{recipient}")
    async def relay(recipient: str, caller: Small) -> Any:
        caller.must_be("site")
        coordinator.relay(caller.member.name, recipient, caller.body)
        return {}

    @app.get("/v1/mail")
    async def mail(caller: Small, through: Number = 0) -> Any:
        caller.must_be("site")
        found = coordinator.mail(caller.member.name, through)
        return [{"number": number, "sender": sender, "body": body.hex()} for number, sender, body in found]

    @app.get("/v1/artefacts/{digest}/received")
    async def received(digest: str, caller: Small) -> Any:
        there, whole = coordinator.artefacts.received(digest, caller.member.name)
        return {"bytes": there, "whole": whole}

    @app.put("/v1/artefacts/{digest}")
    async def upload(digest: str, offset: Number, total: Number, caller: Piece) -> Any:
        # In a thread: the last piece has the whole artefact read and synced.
        there, whole = await asyncio.to_thread(
            coordinator.artefacts.append, digest, caller.member.name, offset, caller.body, total
        )
        return {"bytes": there, "whole": whole}

    @app.get("/v1/artefacts/{digest}")
    async def download(digest: str, caller: Small, offset: Number = 0) -> Response:
        # One answer for both, so that nobody learns which artefacts exist.
        if not coordinator.artefacts.may_read(caller.member.name, check_digest(digest)):
            raise HTTPException(404, "no such artefact for this member")
        piece, total = coordinator.artefacts.piece(digest, offset, PIECE)
        headers = {TOTAL: str(total)}
        return Response(piece, headers=headers, media_type="application/octet-stream")

    return app


def _sweeping(coordinator: Coordinator) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Has artefacts that nothing names deleted while the service runs."""

    async def sweep() -> None:
        while True:
            try:
                await asyncio.to_thread(coordinator.sweep)
            except (OSError, SQLAlchemyError) as error:
                _LOG.warning("old artefacts were not deleted: %s", str(error).partition("\n")[0])
            await asyncio.sleep(_SWEEP_S)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(sweep())
        try:
            yield
        finally:
            task.cancel()

    return lifespan


async def _wait(
    wake: Wake, member: str, seconds: float, attempt: Callable[[], Awaitable[dict[str, Any] | None]]
) -> dict[str, Any] | None:
    """Tries until something is there, at each change for the member, for so many seconds."""
    end = time.monotonic() + seconds
    while True:
        found = await attempt()
        if found is not None or time.monotonic() >= end:
            return found
        # Every second too: a command in another process may have changed a table.
        await wake.wait(member, min(1.0, end - time.monotonic()))


async def _arrived(coordinator: Coordinator, caller: Caller, parts: list[bytes]) -> list[Arrived]:
    """Checks artefacts that came with a message. Large ones become files, in a thread, since the disk is waited for."""
    name, arrive = caller.member.name, coordinator.artefacts.arrive
    return [arrive(name, part) if len(part) <= SMALL else await asyncio.to_thread(arrive, name, part) for part in parts]


def _seconds(asked: dict[str, Any]) -> float:
    value = asked.get("wait_s", 0.0)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e9:
        raise HTTPException(400, "wait_s must be a number of seconds")
    return min(float(value), MOST_WAIT_S)


def _count(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise HTTPException(400, f"{name} must be a count")
    return value


def _list(asked: dict[str, Any], name: str) -> list[Any]:
    value = asked.get(name)
    if not isinstance(value, list) or len(value) > 10_000:
        raise HTTPException(400, f"{name} must be a list")
    return value
