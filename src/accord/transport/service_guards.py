"""What keeps a member, or a stranger, from using up the service: rates, held requests, and a line for each error."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, TypeVar

import sqlalchemy as sa
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.engine import Connection
from starlette.exceptions import HTTPException as AnyHTTPException

from accord.core.errors import AccordError, Fault

T = TypeVar("T")

RATE = 200.0
BURST = 1000.0
"""Requests of one member: so many a second, and so many at once."""
MOST_HELD = 32
"""Requests of one member that are held open at a time."""


class Wake:
    """Wakes members who wait for a change, each for its own. Changes come from the event loop's own thread."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def __call__(self, members: Collection[str]) -> None:
        """Tells of a change for these members."""
        for member in members:
            event = self._events.pop(member, None)
            if event is not None:
                event.set()

    async def wait(self, member: str, seconds: float) -> None:
        """Waits for the member's next change, or so many seconds."""
        event = self._events.setdefault(member, asyncio.Event())
        try:
            await asyncio.wait_for(event.wait(), max(0.001, seconds))
        except TimeoutError:
            return


class Together(Generic[T]):
    """Puts changes that arrive at the same time into one transaction, so that the disk is waited for once.

    What one of them raises undoes that one alone. What the commit raises is raised to all.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._change = change
        self._waiting: list[tuple[Callable[[Connection], T], asyncio.Future[T]]] = []

    async def __call__(self, work: Callable[[Connection], T]) -> T:
        """Returns what `work` returns, once that is on the disk."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        if not self._waiting:
            # After all that is ready to run: requests that came during the last commit.
            loop.call_soon(loop.call_soon, self._commit)
        self._waiting.append((work, done))
        return await done

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        outcomes: list[T | Exception] = []
        try:
            with self._change() as connection:
                outcomes = [_apart(connection, work) for work, _ in waiting]
        except Exception as error:  # noqa: BLE001 - raised to all who wait
            outcomes = [error] * len(waiting)
        for (_, done), outcome in zip(waiting, outcomes, strict=True):
            if done.cancelled():
                continue
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)


def _apart(connection: Connection, work: Callable[[Connection], T]) -> T | Exception:
    try:
        with connection.begin_nested():
            return work(connection)
    except AccordError as error:
        return error


class Limiter:
    """A token bucket for each member."""

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._rate, self._burst = rate, burst
        self._left: dict[str, tuple[float, float]] = {}

    def allows(self, member: str) -> bool:
        """Whether one more request of the member is within its rate."""
        now = time.monotonic()
        left, at = self._left.get(member, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        self._left[member] = (max(0.0, left - 1), now)
        return left >= 1


class Held:
    """Counts the requests of each member that are held open, of which each change of a table looks at all."""

    def __init__(self, most: int = MOST_HELD) -> None:
        self._most = most
        self._count: Counter[str] = Counter()

    @contextmanager
    def one_of(self, member: str) -> Iterator[None]:
        """Holds one more request of a member.

        Raises:
            HTTPException: it has as many already.
        """
        if self._count[member] >= self._most:
            raise HTTPException(429, f"{member} holds {self._most} requests open already")
        self._count[member] += 1
        try:
            yield
        finally:
            self._count[member] -= 1


def tell_errors(app: FastAPI) -> None:
    """Has every error told in one line: 400 where the request is wrong, 503 where it may be sent again."""

    def told(error: str, status: int) -> JSONResponse:
        return JSONResponse({"error": error}, status)

    @app.exception_handler(AccordError)
    async def refused(request: Request, error: AccordError) -> JSONResponse:
        return told(str(error), 503 if isinstance(error, Fault) else 400)

    @app.exception_handler(AnyHTTPException)
    async def known(request: Request, error: AnyHTTPException) -> JSONResponse:
        return told(str(error.detail), error.status_code)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return told(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", 400)

    # Half a pair of surrogates, or a number of more than 64 bits: each driver refuses them in another way.
    @app.exception_handler(sa.exc.DataError)
    @app.exception_handler(UnicodeEncodeError)
    @app.exception_handler(OverflowError)
    async def unstorable(request: Request, error: Exception) -> JSONResponse:
        return told("a text or number of the request is none that a table can hold", 400)

    @app.exception_handler(sa.exc.OperationalError)
    async def away(request: Request, error: sa.exc.OperationalError) -> JSONResponse:
        return told(f"the coordinator's database: {_first_line(error.orig)}", 503)

    @app.exception_handler(OSError)
    async def full(request: Request, error: OSError) -> JSONResponse:
        return told(f"the coordinator's disk: {error.strerror}", 503)


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]
