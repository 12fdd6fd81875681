"""What each member holds at the coordinator: its artefacts, who may read them, and how much is allowed.

An artefact is known by its digest, and whoever knows a digest learns nothing by naming it: a member has an artefact
once it has sent all of it itself, or once a task that names it is addressed to that member.

Small artefacts are rows of the tables, so that a message and its artefact are on the disk by one sync. Others are
files.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from accord.core.errors import MessageError
from accord.transport.artefacts import ArtefactStore, check_digest
from accord.transport.tables import CONTENT, HOLDING, JOB, TASK, Tables

SMALL = 2**20
"""Bytes of an artefact that is a row, at most."""
SWEEP_AGE_S = 24 * 3600.0
"""Seconds after which an artefact that nothing names is deleted."""

_NEVER = 1e18


@dataclass(frozen=True)
class Quotas:
    """What one member may take up, so that it leaves room for the others.

    Attributes:
        held: bytes of artefacts and jobs. Whatever it is, no member holds more than all others and the disk have left.
        tasks: tasks of a requester that are not done.
        mail: bytes of a site's messages that others have not read.
    """

    held: int = 2**34
    tasks: int = 10_000
    mail: int = 2**25


@dataclass(frozen=True)
class Arrived:
    """An artefact that has arrived whole and was checked.

    Attributes:
        digest: its SHA-256.
        size: its bytes.
        body: its content where it is small. Others are a file already.
    """

    digest: str
    size: int
    body: bytes


class Holdings:
    """The artefacts at a coordinator.

    Args:
        tables: say who holds what, and have the small ones.
        store: has the others, and uploads that have begun.
        quotas: what one member may take up.
        clock: seconds since the epoch.
    """

    def __init__(
        self, tables: Tables, store: ArtefactStore, quotas: Quotas | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.store = store
        self.quotas = quotas or Quotas()
        self._tables = tables
        self._clock = clock

    def arrive(self, member: str, content: bytes) -> Arrived:
        """Checks an artefact that came whole. One that is not small is a file afterwards, on the disk.

        Raises:
            MessageError: it is too large, not safetensors, or more than the member may hold.
            StorageError: the disk is full.
        """
        if len(content) <= SMALL:
            self.store.check(content)
            return Arrived(sha256(content).hexdigest(), len(content), content)
        with self._tables.read() as connection:
            self._check_room(connection, member, len(content))
        return Arrived(self.store.put(content), len(content), b"")

    def take(self, connection: Connection, member: str, arrived: Sequence[Arrived]) -> None:
        """Notes who holds artefacts, and keeps the small ones, inside of the transaction of what names them.

        Raises:
            MessageError: it is more than the member may hold.
        """
        for each in arrived:
            held = connection.execute(_HELD, {"of": member, "named": each.digest}).first()
            if held is not None:
                # Wanted again, so that `sweep` leaves it.
                connection.execute(_TOUCH, {"of": member, "named": each.digest, "now": self._clock()})
            else:
                self._check_room(connection, member, each.size)
                row = {"digest": each.digest, "member": member, "bytes": each.size, "at": self._clock()}
                connection.execute(_NEW_HOLDING, row)
            if each.body:
                if connection.execute(_KNOWN, {"named": each.digest}).first() is None:
                    connection.execute(_NEW_CONTENT, {"digest": each.digest, "body": each.body})
            elif each.digest not in self.store:
                # Deleted between its arrival and this transaction, by who collected the same content.
                raise MessageError("an artefact was deleted meanwhile; send it again")

    def take_job(self, connection: Connection, requester: str, run: str, size: int) -> None:
        """Counts a job's text, which stays for as long as the books, among what a requester holds.

        Raises:
            MessageError: it is more than the requester may hold.
        """
        self._check_room(connection, requester, size)
        # Under what is no digest, so that no task can name it, and never old.
        row = {"digest": f"job {run}", "member": requester, "bytes": size, "at": _NEVER}
        connection.execute(_NEW_HOLDING, row)

    def append(self, digest: str, member: str, offset: int, piece: bytes, total: int) -> tuple[int, bool]:
        """Adds a piece of a member's upload. Returns how many bytes of it have arrived, and whether that is all.

        Raises:
            MessageError: it is too large, more than the member may hold, or not what was announced.
            StorageError: the disk is full.
        """
        with self._tables.read() as connection:
            if self._held(connection, member, check_digest(digest)) is not None:
                return total, True
            # Before the disk is asked: a size that is none is no fault of the disk's.
            self.store.check_announced(offset + len(piece), total)
            self._check_room(connection, member, total - offset)
        there, whole = self.store.append(digest, member, offset, piece, total)
        if whole:
            with self._tables.change() as connection:
                self.take(connection, member, [Arrived(digest, total, b"")])
        return there, whole

    def received(self, digest: str, member: str) -> tuple[int, bool]:
        """Returns how many bytes of an artefact have arrived from a member, and whether that is all of it."""
        with self._tables.read() as connection:
            size = self._held(connection, member, check_digest(digest))
        return (self.store.received(digest, member), False) if size is None else (size, True)

    def has(self, connection: Connection, member: str, digest: str) -> bool:
        """Whether a member has sent all of an artefact, and may name it."""
        return self._held(connection, member, digest) is not None

    def _held(self, connection: Connection, member: str, digest: str) -> int | None:
        row = connection.execute(_HELD, {"of": member, "named": digest}).first()
        return None if row is None else int(row.bytes)

    def may_read(self, member: str, digest: str) -> bool:
        """Whether a member may have an artefact: its own, the inputs of a site's tasks, all of a requester's runs."""
        addressed = sa.select(TASK.c.digest).where(TASK.c.site == member, TASK.c.inputs == digest)
        of_run = (
            sa.select(TASK.c.digest)
            .join(JOB, JOB.c.run == TASK.c.run)
            .where(JOB.c.requester == member, sa.or_(TASK.c.inputs == digest, TASK.c.result == digest))
        )
        with self._tables.read() as connection:
            return self.has(connection, member, digest) or any(
                connection.execute(query.limit(1)).first() is not None for query in (addressed, of_run)
            )

    def read(self, digest: str) -> bytes:
        """Returns an artefact.

        Raises:
            MessageError: there is none of this digest, or it was damaged.
        """
        body = self._small(digest)
        if body is None:
            return self.store.read(digest)
        if sha256(body).hexdigest() != digest:
            raise MessageError(f"artefact {digest[:12]}: its row was damaged")
        return body

    def piece(self, digest: str, offset: int, most: int) -> tuple[bytes, int]:
        """Returns a piece of an artefact and the artefact's size.

        Raises:
            MessageError: there is none of this digest, or it ends before `offset`.
        """
        body = self._small(digest)
        if body is None:
            return self.store.piece(digest, offset, most)
        if not 0 <= offset < len(body):
            raise MessageError(f"artefact {digest[:12]}: no byte {offset:,} among its {len(body):,}")
        return body[offset : offset + most], len(body)

    def together(self, digests: Sequence[str], most: int) -> list[bytes]:
        """Returns artefacts in order, as long as together they have no more bytes than that."""
        parts: list[bytes] = []
        for digest in digests:
            if digest and (body := self._up_to(digest, most)) is not None:
                most -= len(body)
                parts.append(body)
        return parts

    def _up_to(self, digest: str, most: int) -> bytes | None:
        body = self._small(digest)
        if body is not None:
            return body if len(body) <= most else None
        path = self.store.path(digest)
        return path.read_bytes() if path.is_file() and path.stat().st_size <= most else None

    def _small(self, digest: str) -> bytes | None:
        with self._tables.read() as connection:
            row = connection.execute(_BODY, {"named": check_digest(digest)}).first()
        return None if row is None else bytes(row.body)

    def release(self, connection: Connection, digests: Collection[str], members: Collection[str]) -> None:
        """Lets members hold artefacts no longer. `tidy` then deletes those that nobody holds."""
        for digest in digests:
            mine = (HOLDING.c.digest == digest, HOLDING.c.member.in_(members))
            connection.execute(HOLDING.delete().where(*mine))

    def tidy(self, digests: Collection[str]) -> None:
        """Deletes those artefacts that nobody holds. What a kill leaves here, `sweep` takes."""
        with self._tables.hint() as connection:
            for digest in digests:
                held = sa.select(HOLDING.c.member).where(HOLDING.c.digest == digest).limit(1)
                if connection.execute(held).first() is None:
                    connection.execute(CONTENT.delete().where(CONTENT.c.digest == digest))
                    # Within the transaction: nobody can take the same content up in between, see `take`.
                    self.store.delete(digest)

    def sweep(self, named: Callable[[Connection, str], bool], older_s: float = SWEEP_AGE_S) -> int:
        """Deletes artefacts that no task names, and uploads that were given up. Returns how many."""
        before = self._clock() - older_s
        with self._tables.change() as connection:
            old = sa.select(HOLDING.c.digest).where(HOLDING.c.at < before).distinct()
            gone = {row.digest for row in connection.execute(old) if not named(connection, row.digest)}
            for digest in gone:
                connection.execute(HOLDING.delete().where(HOLDING.c.digest == digest, HOLDING.c.at < before))
            without = sa.select(CONTENT.c.digest).where(CONTENT.c.digest.not_in(sa.select(HOLDING.c.digest)))
            gone |= {row.digest for row in connection.execute(without)}
        self.tidy(gone)

        def kept(digest: str) -> bool:
            with self._tables.read() as connection:
                held = sa.select(HOLDING.c.member).where(HOLDING.c.digest == digest).limit(1)
                return connection.execute(held).first() is not None or named(connection, digest)

        return len(gone) + self.store.sweep(kept, older_s)

    def _check_room(self, connection: Connection, member: str, wanted: int) -> None:
        held = self.held(connection, member)
        free = self.store.check_room(wanted)
        if held + wanted > min(self.quotas.held, (held + free) // 2):
            most = min(self.quotas.held, (held + free) // 2)
            raise MessageError(
                f"{member} holds {held:,} bytes here and would hold {wanted:,} more, of {most:,} that one member may; "
                "end or resume its runs, whose artefacts are then deleted"
            )

    def held(self, connection: Connection, member: str) -> int:
        """Returns the bytes of a member's artefacts, begun uploads and jobs."""
        return int(connection.execute(_SUM_HELD, {"of": member}).scalar_one()) + self.store.begun(member)


# Built once: building a statement takes longer than SQLite takes for it.
_OF, _NAMED = sa.bindparam("of", type_=sa.String), sa.bindparam("named", type_=sa.String)
_HELD = sa.select(HOLDING.c.bytes).where(HOLDING.c.digest == _NAMED, HOLDING.c.member == _OF)
_TOUCH = HOLDING.update().where(HOLDING.c.digest == _NAMED, HOLDING.c.member == _OF).values(at=sa.bindparam("now"))
_NEW_HOLDING = HOLDING.insert()
_KNOWN = sa.select(CONTENT.c.digest).where(CONTENT.c.digest == _NAMED)
_NEW_CONTENT = CONTENT.insert()
_BODY = sa.select(CONTENT.c.body).where(CONTENT.c.digest == _NAMED)
_SUM_HELD = sa.select(sa.func.coalesce(sa.func.sum(HOLDING.c.bytes), 0)).where(HOLDING.c.member == _OF)
