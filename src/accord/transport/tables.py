"""The coordinator's tables: members, jobs, tasks, mail, nonces, and a hash-chained journal.

The task table is the queue. A change of state and its journal line are one transaction, so that a coordinator that was
killed goes on where it stood. SQLite keeps a write-ahead log and syncs every commit; PostgreSQL is chosen by URL.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from accord.core.errors import FederationError
from accord.transport.messages import canonical

META = sa.MetaData()

MEMBER = sa.Table(
    "member",
    META,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("public_key", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # admitted, revoked
    sa.Column("data_sets", sa.Text, nullable=False, default="[]"),
    sa.Column("seen", sa.Float),
)
SUCCESSION = sa.Table(
    "succession",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(63), nullable=False, index=True),
    sa.Column("before", sa.String(64), nullable=False),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("signature", sa.String(128), nullable=False),
)
NONCE = sa.Table(
    "nonce",
    META,
    sa.Column("member", sa.String(63), primary_key=True),
    sa.Column("nonce", sa.String(64), primary_key=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
)
JOB = sa.Table(
    "job",
    META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("requester", sa.String(63), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("signed", sa.Text, nullable=False),
)
TASK = sa.Table(
    "task",
    META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("site", sa.String(63), primary_key=True),
    sa.Column("round", sa.BigInteger, primary_key=True),
    sa.Column("call", sa.BigInteger, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("signed", sa.Text, nullable=False),
    sa.Column("inputs", sa.String(64), nullable=False, index=True),  # empty, too, once it was collected
    sa.Column("state", sa.String(16), nullable=False),  # ready, leased, done, withdrawn
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False, index=True),
    sa.Column("outcome", sa.Text),
    sa.Column("receipt", sa.Text),
    sa.Column("result", sa.String(64), nullable=False, default="", index=True),  # the same
    sa.Index("task_queue", "site", "state", "position"),
)
SERVED = sa.Table(
    "served",
    META,
    sa.Column("site", sa.String(63), primary_key=True),
    sa.Column("requester", sa.String(63), primary_key=True),
    sa.Column("turn", sa.BigInteger, nullable=False),  # the site's newest lease of a task of this requester
)
HOLDING = sa.Table(
    "holding",
    META,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("member", sa.String(63), primary_key=True, index=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Float, nullable=False, index=True),
)
CONTENT = sa.Table(
    "content",
    META,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
MAIL = sa.Table(
    "mail",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("recipient", sa.String(63), nullable=False, index=True),
    sa.Column("sender", sa.String(63), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
JOURNAL = sa.Table(
    "journal",
    META,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("actor", sa.String(63), nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("before", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)


# Built once: building a statement takes longer than SQLite takes for it, and these are of every request.
_FORGET = NONCE.delete().where(NONCE.c.at < sa.bindparam("oldest"))
_USED = sa.select(NONCE.c.at).where(NONCE.c.member == sa.bindparam("of"), NONCE.c.nonce == sa.bindparam("once"))
_USE = NONCE.insert()
_NOTE = JOURNAL.insert()
_NEWEST = sa.select(JOURNAL.c.number, JOURNAL.c.hash).order_by(JOURNAL.c.number.desc()).limit(1)

_CONNECT_S = 5
_LOCK = 0x6163636F7264
"""The number of the lock under which writers of PostgreSQL take turns."""


class Tables:
    """The tables behind one database URL.

    Args:
        url: `sqlite:///FILE` or `postgresql+psycopg://...`.

    Raises:
        FederationError: the database cannot be opened.
    """

    def __init__(self, url: str) -> None:
        try:
            self._engine = _engine(url, durable=True, writes=True)
            self._reader = _engine(url, durable=True, writes=False)
            # Nonces need to outlive the process, not a power cut: one sync less for each request.
            self._quick = _engine(url, durable=False, writes=True)
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            reason = str(error).partition("\n")[0]
            raise FederationError(f"the coordinator's database cannot be opened: {reason}") from error
        try:
            META.create_all(self._engine)
        except sa.exc.SQLAlchemyError as error:
            self.close()
            reason = str(error).partition("\n")[0]
            raise FederationError(f"the coordinator's database cannot be opened: {reason}") from error

    def change(self) -> AbstractContextManager[Connection]:
        """A transaction that is on disk when the block ends, or as if it had not begun."""
        return self._engine.begin()

    def hint(self) -> AbstractContextManager[Connection]:
        """A transaction on what a power cut may take back, such as a lease. The next one of `change` syncs it, too."""
        return self._quick.begin()

    def read(self) -> AbstractContextManager[Connection]:
        """A connection to read from, which holds up no writer."""
        return self._reader.connect()

    def note(self, connection: Connection, actor: str, action: str, body: Mapping[str, Any]) -> None:
        """Appends a line to the journal, inside of the transaction of what it tells."""
        # Read each time: another process may have written since, such as a command that admits a member.
        newest = connection.execute(_NEWEST).first()
        number, before = (newest.number, newest.hash) if newest is not None else (0, "")
        line = {
            "number": number + 1,
            "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "actor": actor,
            "action": action,
            "body": canonical(body).decode(),
            "before": before,
        }
        connection.execute(_NOTE, {**line, "hash": line_hash(line)})

    def fresh(self, member: str, nonce: str, now: float, horizon_s: float) -> bool:
        """Notes a nonce, and returns whether it was never seen. Those older than the horizon are forgotten."""
        with self._quick.begin() as connection:
            connection.execute(_FORGET, {"oldest": now - horizon_s})
            if connection.execute(_USED, {"of": member, "once": nonce}).first() is not None:
                return False
            connection.execute(_USE, {"member": member, "nonce": nonce, "at": now})
        return True

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()
        self._reader.dispose()
        self._quick.dispose()


def line_hash(line: Mapping[str, Any]) -> str:
    """Returns the hash of a journal line, which covers the hash of the line before it."""
    covered = [line[name] for name in ("number", "at", "actor", "action", "body", "before")]
    return sha256(canonical(covered)).hexdigest()


def check_journal(tables: Tables) -> int:
    """Verifies the chain of the coordinator's journal, and returns its number of lines.

    Raises:
        FederationError: names the first line that does not fit.
    """
    before, expected = "", 1
    with tables.read() as connection:
        for row in connection.execute(sa.select(JOURNAL).order_by(JOURNAL.c.number)):
            line = dict(row._mapping)
            if line["number"] != expected or line["before"] != before or line_hash(line) != line["hash"]:
                raise FederationError(f"the coordinator's journal was changed at line {expected}")
            before, expected = line["hash"], expected + 1
    return expected - 1


def sqlite_url(path: Path) -> str:
    """Returns the URL of a file of SQLite."""
    return f"sqlite:///{path.resolve()}"


def _engine(url: str, *, durable: bool, writes: bool) -> Engine:
    if url.startswith("sqlite"):
        return _sqlite(url, durable=durable, writes=writes)
    # A connection that the server has closed, as after its restart, is found out and replaced before it is used.
    engine = sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_S})
    if writes:

        @sa.event.listens_for(engine, "begin")
        def alone(connection: Connection) -> None:
            # As with SQLite, one writer at a time: what a transaction has read, no other one changes before it ends.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")

    return engine


def _sqlite(url: str, *, durable: bool, writes: bool) -> Engine:
    engine = sa.create_engine(url, connect_args={"check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def prepared(connection: Any, record: object) -> None:
        # SQLAlchemy opens transactions itself: the driver's own would begin them too late for BEGIN IMMEDIATE.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # NORMAL leaves commits in the log unsynced, but syncs when the log is copied into the database. OFF would not,
        # and a power cut in a copy that such a connection makes would take durable commits along.
        cursor.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.close()

    if writes:

        @sa.event.listens_for(engine, "begin")
        def begun(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
