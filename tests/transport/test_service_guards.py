"""Changes that arrive at the same time are one transaction, and each member is woken for its own."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from accord.core.errors import MessageError
from accord.transport.service_guards import Together, Wake
from accord.transport.tables import JOURNAL, Tables, check_journal


@pytest.fixture
def tables(database: str) -> Iterator[Tables]:
    opened = Tables(database)
    yield opened
    opened.close()


def test_changes_that_arrive_together_are_one_transaction(tables: Tables) -> None:
    begun: list[int] = []

    def change() -> AbstractContextManager[Connection]:
        begun.append(1)
        return tables.change()

    together = Together[str](change)

    async def noted(name: str) -> str:
        def write(connection: Connection) -> str:
            tables.note(connection, name, "answer", {})
            if name == "bad":
                raise MessageError("refused")
            return name

        return await together(write)

    async def all_at_once() -> list[str | BaseException]:
        return await asyncio.gather(*(noted(name) for name in ("a", "bad", "b")), return_exceptions=True)

    first, refused, last = asyncio.run(all_at_once())
    assert (first, last) == ("a", "b")
    assert isinstance(refused, MessageError)
    assert begun == [1]
    assert check_journal(tables) == 2, "what was refused left no line"
    with tables.read() as connection:
        assert connection.execute(sa.select(JOURNAL.c.actor).order_by(JOURNAL.c.number)).scalars().all() == ["a", "b"]


def test_a_commit_that_fails_is_told_to_all(tables: Tables) -> None:
    together = Together[None](tables.change)

    def broken(connection: Connection) -> None:
        raise OSError("no space left on device")

    async def both() -> tuple[object, ...]:
        return tuple(await asyncio.gather(together(lambda c: None), together(broken), return_exceptions=True))

    assert [str(each) for each in asyncio.run(both())] == ["no space left on device"] * 2


def test_a_member_is_woken_for_its_own_change_alone() -> None:
    async def waits() -> tuple[bool, bool]:
        wake = Wake()
        east, west = (asyncio.create_task(wake.wait(name, 30.0)) for name in ("east", "west"))
        await asyncio.sleep(0)
        wake(("east",))
        await east
        woken = (east.done(), west.done())
        west.cancel()
        return woken

    assert asyncio.run(waits()) == (True, False)
