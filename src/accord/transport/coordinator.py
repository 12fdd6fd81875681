"""What a coordinator does, without saying how it is reached: members, jobs, leases, outcomes, mail.

It passes signed messages on and keeps the books. It judges nothing: a site judges for itself. Every method is one short
transaction, so that it may be killed between any two lines.
"""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import Connection

from accord.core.errors import MessageError
from accord.transport.artefacts import ArtefactStore
from accord.transport.keys import public_hex, sign
from accord.transport.membership import COORDINATOR, Membership
from accord.transport.messages import PROTOCOL, Answer, Job, Receipt, Refusal, Signed, Task, from_json
from accord.transport.tables import JOB, MAIL, TASK, Tables

RUN = re.compile(r"[0-9a-f]{32}")
LEASE_S = 30.0
"""Seconds that a lease holds, unless it is renewed."""
MOST_MAIL = 2**20
"""Bytes of a message between sites, at most."""
MOST_UNREAD = 64
"""Messages of one site that wait for another, at most."""
SWEEP_AGE_S = 24 * 3600.0
"""Seconds after which an artefact that nothing names is deleted."""


class Coordinator:
    """Keeps a federation's books.

    Args:
        tables: where.
        artefacts: the tensors that messages name.
        key: signs receipts.
        changed: called after every change, to wake those that wait.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        tables: Tables,
        artefacts: ArtefactStore,
        key: Ed25519PrivateKey,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tables = tables
        self.members = Membership(tables, clock)
        self.artefacts = artefacts
        self.public_key = public_hex(key)
        self.clock = clock
        self._key = key
        self.changed = changed

    # The requester's side

    def submit(self, requester: str, signed: Signed[Job]) -> None:
        """Registers a run.

        Raises:
            MessageError: it is not signed by the requester, is of another protocol, or the run exists and is another.
        """
        job = self.members.verified(signed, requester)
        if not RUN.fullmatch(job.run):
            raise MessageError(f"run {job.run[:40]!r}: a run is 32 hexadecimal digits")
        if job.protocol != PROTOCOL:
            raise MessageError(f"the job speaks protocol {job.protocol}, this coordinator {PROTOCOL}; update one")
        if job.requester != requester:
            raise MessageError(f"the job names {job.requester!r} as its requester, but {requester!r} sent it")
        with self.tables.change() as connection:
            known = connection.execute(sa.select(JOB).where(JOB.c.run == job.run)).first()
            if known is not None:
                if known.digest != job.digest() or known.requester != requester:
                    raise MessageError(f"run {job.run}: submitted before as another job")
                return
            connection.execute(
                JOB.insert().values(
                    run=job.run, requester=requester, digest=job.digest(), signed=json.dumps(signed.as_json())
                )
            )
            self.tables.note(connection, requester, "submit", {"run": job.run, "job": job.digest()})

    def offer(self, requester: str, signed: Sequence[Signed[Task]]) -> None:
        """Puts tasks into their sites' queues. One that was withdrawn is ready again.

        Raises:
            MessageError: the run is another requester's, a site is none of the job's, the inputs have not arrived, or
                a task was offered before with other content.
        """
        with self.tables.change() as connection:
            position = (connection.execute(sa.select(sa.func.max(TASK.c.position))).scalar() or 0) + 1
            for number, each in enumerate(signed):
                task = self.members.verified(each, requester)
                self._check_task(connection, requester, task)
                known = connection.execute(sa.select(TASK).where(*_key(task))).first()
                if known is not None:
                    if known.digest != task.digest():
                        raise MessageError(
                            f"run {task.run}: round {task.round} was offered to {task.site} before with other content"
                        )
                    if known.state == "withdrawn":
                        again = {"state": "ready", "position": position + number, "inputs": task.inputs}
                        connection.execute(TASK.update().where(*_key(task)).values(again))
                    continue
                connection.execute(
                    TASK.insert().values(
                        run=task.run,
                        site=task.site,
                        round=task.round,
                        call=task.call,
                        digest=task.digest(),
                        signed=json.dumps(each.as_json()),
                        inputs=task.inputs,
                        state="ready",
                        fence=0,
                        until=0.0,
                        position=position + number,
                        result="",
                    )
                )
            digests = [each.message.digest() for each in signed]
            self.tables.note(connection, requester, "offer", {"tasks": digests})
        self.changed()

    def _check_task(self, connection: Connection, requester: str, task: Task) -> None:
        job = connection.execute(sa.select(JOB).where(JOB.c.run == task.run)).first()
        if job is None or job.requester != requester:
            raise MessageError(f"run {task.run}: not a run of {requester!r}; submit its job first")
        if job.digest != task.job or task.site not in json.loads(job.signed)["message"]["sites"]:
            raise MessageError(f"run {task.run}: the task is not of this job, or {task.site!r} is none of its sites")
        if task.inputs and task.inputs not in self.artefacts:
            raise MessageError(f"run {task.run}: its inputs have not arrived; send the artefact first")

    def outcomes(self, requester: str, tasks: Sequence[Task]) -> dict[str, Any]:
        """Returns what has come of a requester's own tasks so far, as JSON-ready signed messages by site."""
        found: dict[str, Any] = {}
        own = sa.select(TASK).join(JOB, JOB.c.run == TASK.c.run).where(JOB.c.requester == requester)
        with self.tables.read() as connection:
            for task in tasks:
                row = connection.execute(own.where(*_key(task))).first()
                if row is not None and row.state == "done" and row.digest == task.digest():
                    found[task.site] = json.loads(row.outcome)
        return found

    def withdraw(self, requester: str, tasks: Sequence[Task]) -> None:
        """Withdraws tasks that are not done: their sites' answers come too late from now on."""
        with self.tables.change() as connection:
            for task in tasks:
                job = connection.execute(sa.select(JOB.c.requester).where(JOB.c.run == task.run)).scalar()
                if job != requester:
                    raise MessageError(f"run {task.run}: not a run of {requester!r}")
                gone = TASK.update().where(*_key(task), TASK.c.state.in_(("ready", "leased")))
                if connection.execute(gone.values(state="withdrawn")).rowcount:
                    self.tables.note(connection, requester, "withdraw", {"task": task.digest()})
        self.changed()

    def collect(self, requester: str, run: str, through_round: int) -> int:
        """Deletes the artefacts of a run's rounds up to this one that nothing else names. Returns how many.

        Raises:
            MessageError: the run is another requester's.
        """
        named = (TASK.c.inputs, TASK.c.result)
        old = sa.and_(TASK.c.run == run, TASK.c.round <= through_round, TASK.c.state.in_(("done", "withdrawn")))
        with self.tables.change() as connection:
            owner = connection.execute(sa.select(JOB.c.requester).where(JOB.c.run == run)).scalar()
            if owner != requester:
                raise MessageError(f"run {run}: not a run of {requester!r}")
            # Those that were collected before name none any more, so that each is looked at once.
            kept = sa.select(*named).where(old, sa.or_(TASK.c.inputs != "", TASK.c.result != ""))
            gone = {digest for row in connection.execute(kept) for digest in row if digest}
            connection.execute(TASK.update().where(old).values(inputs="", result=""))
            gone -= {digest for digest in gone if self._is_named(connection, digest)}
            if gone:
                self.tables.note(connection, requester, "collect", {"run": run, "through_round": through_round})
        # After the transaction: what a kill leaves here, `sweep` takes.
        for digest in gone:
            self.artefacts.delete(digest)
        return len(gone)

    def sweep(self, older_s: float = SWEEP_AGE_S) -> int:
        """Deletes artefacts that no task names, such as those of uploads that were given up. Returns how many."""

        def named(digest: str) -> bool:
            with self.tables.read() as connection:
                return self._is_named(connection, digest)

        return self.artefacts.sweep(named, older_s)

    def _is_named(self, connection: Connection, digest: str) -> bool:
        query = sa.select(TASK.c.run).where(sa.or_(TASK.c.inputs == digest, TASK.c.result == digest)).limit(1)
        return connection.execute(query).first() is not None

    def may_read(self, member: str, digest: str) -> bool:
        """Whether a member may have an artefact: a site the inputs of its tasks, a requester all of its runs."""
        own = sa.select(TASK.c.digest).where(TASK.c.site == member, TASK.c.inputs == digest)
        of_run = (
            sa.select(TASK.c.digest)
            .join(JOB, JOB.c.run == TASK.c.run)
            .where(JOB.c.requester == member, sa.or_(TASK.c.inputs == digest, TASK.c.result == digest))
        )
        with self.tables.read() as connection:
            return any(connection.execute(query.limit(1)).first() is not None for query in (own, of_run))

    # The site's side

    def lease(self, site: str) -> dict[str, Any] | None:
        """Leases the site's oldest task that is not done. One agent a site: a lease of before is void at once.

        Returns:
            Task, job, fence and `expires_s`, or None where there is nothing to do.
        """
        waiting = (
            sa.select(TASK)
            .where(TASK.c.site == site, TASK.c.state.in_(("ready", "leased")))
            .order_by(TASK.c.position)
            .limit(1)
        )
        with self.tables.read() as connection:
            if connection.execute(waiting).first() is None:
                return None
        member = self.members.member(site)
        if member is None or member.state != "admitted":
            # Its request may have been held open since before it was revoked.
            raise MessageError(f"{site!r} is no member, or was revoked")
        # Not durable by itself: after a power cut the task is leased again. The next durable change syncs its line.
        with self.tables.hint() as connection:
            row = connection.execute(waiting).first()
            if row is None:
                return None
            key = (TASK.c.run == row.run, TASK.c.site == site, TASK.c.round == row.round, TASK.c.call == row.call)
            fence = row.fence + 1
            connection.execute(
                TASK.update().where(*key).values(state="leased", fence=fence, until=self.clock() + LEASE_S)
            )
            job = connection.execute(sa.select(JOB.c.signed).where(JOB.c.run == row.run)).scalar_one()
            self.tables.note(connection, site, "lease", {"task": row.digest, "fence": fence})
        return {"task": json.loads(row.signed), "job": json.loads(job), "fence": fence, "expires_s": LEASE_S}

    def renew(self, site: str, task: Task, fence: int) -> bool:
        """Extends a lease. Returns False where it is no longer held, or the task was withdrawn."""
        held = (*_key(task), TASK.c.site == site, TASK.c.fence == fence, TASK.c.state == "leased")
        with self.tables.change() as connection:
            done = connection.execute(TASK.update().where(*held).values(until=self.clock() + LEASE_S))
            return bool(done.rowcount)

    def finish(
        self, site: str, task: Task, fence: int, outcome: Signed[Answer] | Signed[Refusal]
    ) -> Signed[Receipt] | None:
        """Takes what a site sends for a task. The same again is acknowledged again.

        Returns:
            The receipt, or None where the task was withdrawn.

        Raises:
            MessageError: it is not the site's, not of this task, under an older lease, or its artefact is missing.
        """
        message = self.members.verified(outcome, site)
        same = ("run", "site", "round", "call")
        if message.task != task.digest() or any(getattr(message, name) != getattr(task, name) for name in same):
            raise MessageError("the outcome is not of the task that was leased")
        # Who knows its own task knows the other sites' too, and could end them in their place.
        if task.site != site:
            raise MessageError(f"the task is of {task.site}, and {site} answers")
        result = message.result if isinstance(message, Answer) else ""
        if result and result not in self.artefacts:
            raise MessageError("the answer's artefact has not arrived; send it first")
        with self.tables.change() as connection:
            row = connection.execute(sa.select(TASK).where(*_key(task))).first()
            if row is None or row.digest != task.digest():
                raise MessageError("no such task was offered")
            if row.state == "withdrawn":
                return None
            text = json.dumps(outcome.as_json())
            if row.state == "done":
                if row.outcome != text:
                    raise MessageError("the task is done, by another outcome")
                return from_json(json.loads(row.receipt), Receipt)
            if row.fence != fence:
                raise MessageError(f"the lease {fence} is over: the task was leased again since")
            at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            receipt = sign(self._key, COORDINATOR, Receipt(site, message.line, message.head, at))
            connection.execute(
                TASK.update()
                .where(*_key(task))
                .values(state="done", outcome=text, result=result, receipt=json.dumps(receipt.as_json()))
            )
            kind = "refuse" if isinstance(message, Refusal) else "answer"
            body = {"task": row.digest, "outcome": message.digest(), "line": message.line, "head": message.head}
            self.tables.note(connection, site, kind, body)
        self.changed()
        return receipt

    def relay(self, sender: str, recipient: str, body: bytes) -> None:
        """Keeps a message for another site.

        Raises:
            MessageError: there is no such site, the message is too large, or too many wait.
        """
        to = self.members.member(recipient)
        if to is None or to.role != "site" or to.state != "admitted":
            raise MessageError(f"{recipient!r} is no site of this federation")
        if len(body) > MOST_MAIL:
            raise MessageError(f"a message of {len(body):,} bytes is larger than {MOST_MAIL:,}")
        with self.tables.change() as connection:
            waiting = sa.select(sa.func.count()).where(MAIL.c.recipient == recipient, MAIL.c.sender == sender)
            if connection.execute(waiting).scalar_one() >= MOST_UNREAD:
                raise MessageError(f"{MOST_UNREAD} messages to {recipient!r} wait already; it has not read them")
            connection.execute(MAIL.insert().values(recipient=recipient, sender=sender, body=body))
            self.tables.note(connection, sender, "relay", {"to": recipient, "bytes": len(body)})
        self.changed()

    def mail(self, site: str, through: int = 0) -> list[tuple[int, str, bytes]]:
        """Returns the site's messages after number `through`, which it has, and deletes those up to it."""
        with self.tables.change() as connection:
            connection.execute(MAIL.delete().where(MAIL.c.recipient == site, MAIL.c.number <= through))
            query = sa.select(MAIL).where(MAIL.c.recipient == site).order_by(MAIL.c.number).limit(100)
            return [(row.number, row.sender, bytes(row.body)) for row in connection.execute(query)]


def _key(task: Task) -> tuple[sa.ColumnElement[bool], ...]:
    return (TASK.c.run == task.run, TASK.c.site == task.site, TASK.c.round == task.round, TASK.c.call == task.call)


def status_of(coordinator: Coordinator) -> Mapping[str, Any]:
    """Returns what `accord federation status` shows: sites, runs, and tasks by state."""
    with coordinator.tables.read() as connection:
        states = connection.execute(sa.select(TASK.c.state, sa.func.count()).group_by(TASK.c.state)).all()
        runs = connection.execute(sa.select(sa.func.count()).select_from(JOB)).scalar_one()
    return {
        "sites": [
            {"name": site.name, "data_sets": list(site.data_sets), "seen_s": site.seen_s}
            for site in coordinator.members.sites()
        ],
        "runs": runs,
        "tasks": {row[0]: row[1] for row in states},
    }
