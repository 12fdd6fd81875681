"""The tables keep what was committed, one journal line for each change, in a chain that shows what was touched."""

import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy as sa

from accord.core.errors import FederationError
from accord.transport.tables import JOURNAL, MEMBER, Tables, check_journal, sqlite_url


@pytest.fixture
def tables(database: str) -> Iterator[Tables]:
    opened = Tables(database)
    yield opened
    opened.close()


def noted(tables: Tables, number: int) -> None:
    for each in range(number):
        with tables.change() as connection:
            tables.note(connection, "ada", "submit", {"run": str(each)})


def test_a_line_covers_the_one_before(tables: Tables) -> None:
    noted(tables, 2)
    with tables.read() as connection:
        first, second = connection.execute(sa.select(JOURNAL).order_by(JOURNAL.c.number)).all()
    covered = f'[2,"{second.at}","ada","submit","{{\\"run\\":\\"1\\"}}","{first.hash}"]'
    assert second.before == first.hash
    assert second.hash == sha256(covered.encode()).hexdigest()
    assert check_journal(tables) == 2


@pytest.mark.parametrize(
    "touch",
    [
        "UPDATE journal SET body = '{}' WHERE number = 2",
        "UPDATE journal SET actor = 'eve' WHERE number = 2",
        "DELETE FROM journal WHERE number = 2",
        "DELETE FROM journal WHERE number = 1",
        "UPDATE journal SET hash = before WHERE number = 2",
    ],
)
def test_a_journal_that_was_touched_is_found(touch: str, tables: Tables) -> None:
    noted(tables, 3)
    with tables.change() as connection:
        connection.exec_driver_sql(touch)
    with pytest.raises(FederationError, match="changed at line"):
        check_journal(tables)


def test_a_change_that_fails_leaves_neither_state_nor_line(tables: Tables) -> None:
    row = {"name": "east", "organisation": "e", "role": "site", "public_key": "", "state": "admitted"}

    def changed() -> None:
        with tables.change() as connection:
            connection.execute(MEMBER.insert().values(row))
            tables.note(connection, "east", "admit", {})
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        changed()
    with tables.read() as connection:
        assert connection.execute(sa.select(MEMBER)).first() is None
    assert check_journal(tables) == 0


def test_a_nonce_is_fresh_once_also_after_a_restart(database: str) -> None:
    first = Tables(database)
    assert first.fresh("ada", "n", 1000.0, 121.0)
    assert first.fresh("east", "n", 1000.0, 121.0), "each member has its own"
    first.close()
    second = Tables(database)
    assert not second.fresh("ada", "n", 1060.0, 121.0)
    assert second.fresh("ada", "n", 1122.0, 121.0), "forgotten once its request is too old anyway"
    second.close()


def test_a_change_is_synced_and_a_hint_is_never_unsafe(tmp_path: Path) -> None:
    tables = Tables(sqlite_url(tmp_path / "federation.db"))
    # 2 is FULL: a commit is on the disk. 1 is NORMAL: a commit may be lost by a power cut, and no other one with it.
    with tables.change() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    with tables.hint() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
    tables.close()


@pytest.mark.slow
def test_postgres_syncs_a_change_and_not_a_hint(postgres: str) -> None:
    tables = Tables(postgres)
    for transaction, synced in ((tables.hint, "off"), (tables.change, "on"), (tables.hint, "off")):
        with transaction() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == synced
    tables.close()


@pytest.mark.slow
def test_a_server_that_closed_its_connections_is_asked_anew(postgres: str) -> None:
    tables = Tables(postgres)
    noted(tables, 1)
    with tables.read() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
    noted(tables, 1)
    assert check_journal(tables) == 2
    tables.close()


def test_what_a_change_did_until_it_failed_is_undone_in_a_part(tables: Tables) -> None:
    with tables.change() as connection:
        tables.note(connection, "ada", "offer", {})
        part = connection.begin_nested()
        tables.note(connection, "ben", "offer", {})
        part.rollback()
    assert check_journal(tables) == 1


def test_writers_take_turns_and_the_chain_holds(database: str) -> None:
    several = [Tables(database) for _ in range(4)]
    writers = [threading.Thread(target=noted, args=(tables, 25)) for tables in several]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert check_journal(several[0]) == 100
    for tables in several:
        tables.close()


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.db", "postgresql+psycopg://127.0.0.1:1/none", "nonsense://"]
)
def test_a_database_that_cannot_be_opened_is_one_line(url: str) -> None:
    with pytest.raises(FederationError, match="the coordinator's database cannot be opened") as caught:
        Tables(url)
    assert "\n" not in str(caught.value)
