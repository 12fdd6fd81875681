"""What a coordinator does, without saying how it is reached: members, jobs, leases, outcomes, mail.

It passes signed messages on and keeps the books. It judges nothing: a site judges for itself. Every method is one short
transaction, so that it may be killed between any two lines.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import Connection

from accord.core.errors import MessageError
from accord.transport import task_queries as q
from accord.transport.artefacts import ArtefactStore
from accord.transport.holdings import SWEEP_AGE_S, Arrived, Holdings, Quotas
from accord.transport.keys import public_hex, sign
from accord.transport.membership import COORDINATOR, Membership
from accord.transport.messages import PROTOCOL, Answer, Job, Receipt, Refusal, Signed, Task, from_json
from accord.transport.tables import JOB, MAIL, SERVED, TASK, Tables

RUN = re.compile(r"[0-9a-f]{32}")
LEASE_S = 30.0
"""Seconds that a lease holds, unless it is renewed."""
MOST_MAIL = 2**20
"""Bytes of a message between sites, at most."""
MOST_UNREAD = 64
"""Messages of one site that wait for another, at most."""


@dataclass(frozen=True)
class Finished:
    """What came of an answer or a refusal.

    Attributes:
        receipt: the countersignature, or None where the task was withdrawn.
        requester: who waits for it, or empty where nothing changed.
    """

    receipt: Signed[Receipt] | None
    requester: str = ""


class Coordinator:
    """Keeps a federation's books.

    Args:
        tables: where.
        artefacts: files of the tensors that messages name.
        key: signs receipts.
        quotas: what one member may take up.
        clock: seconds since the epoch.

    Attributes:
        changed: called with the members for whom something has changed, to wake those that wait.
    """

    def __init__(
        self,
        tables: Tables,
        artefacts: ArtefactStore,
        key: Ed25519PrivateKey,
        quotas: Quotas | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tables = tables
        self.members = Membership(tables, clock)
        self.artefacts = Holdings(tables, artefacts, quotas, clock)
        self.public_key = public_hex(key)
        self.clock = clock
        self._key = key
        self.changed: Callable[[Collection[str]], None] = lambda members: None

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
            text = json.dumps(signed.as_json())
            self.artefacts.take_job(connection, requester, job.run, len(text))
            connection.execute(JOB.insert().values(run=job.run, requester=requester, digest=job.digest(), signed=text))
            self.tables.note(connection, requester, "submit", {"run": job.run, "job": job.digest()})

    def offer(self, requester: str, signed: Sequence[Signed[Task]], arrived: Sequence[Arrived] = ()) -> None:
        """Puts tasks into their sites' queues, and takes the artefacts that came along. One withdrawn is ready again.

        Raises:
            MessageError: the run is another requester's, a site is none of the job's, the inputs have not arrived, a
                task was offered before with other content, or the requester has too many tasks waiting.
        """
        with self.tables.change() as connection:
            self.artefacts.take(connection, requester, arrived)
            position = (connection.execute(sa.select(sa.func.max(TASK.c.position))).scalar() or 0) + 1
            for number, each in enumerate(signed):
                task = self.members.verified(each, requester)
                self._check_task(connection, requester, task)
                known = connection.execute(sa.select(TASK).where(*q.key_of(task))).first()
                if known is not None:
                    if known.digest != task.digest():
                        raise MessageError(
                            f"run {task.run}: round {task.round} was offered to {task.site} before with other content"
                        )
                    if known.state == "withdrawn":
                        again = {"state": "ready", "position": position + number, "inputs": task.inputs}
                        connection.execute(TASK.update().where(*q.key_of(task)).values(again))
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
            self._check_waiting(connection, requester)
            digests = [each.message.digest() for each in signed]
            self.tables.note(connection, requester, "offer", {"tasks": digests})
        self.changed({each.message.site for each in signed})

    def _check_waiting(self, connection: Connection, requester: str) -> None:
        """Ends a transaction after which a requester has too many tasks that are not done."""
        of_requester = sa.select(sa.func.count()).select_from(TASK).join(JOB, JOB.c.run == TASK.c.run)
        waiting = of_requester.where(JOB.c.requester == requester, TASK.c.state.in_(("ready", "leased")))
        number, most = connection.execute(waiting).scalar_one(), self.artefacts.quotas.tasks
        if number > most:
            raise MessageError(
                f"{number:,} tasks of {requester} would wait, and one requester may have {most:,}; wait for answers"
            )

    def _check_task(self, connection: Connection, requester: str, task: Task) -> None:
        job = connection.execute(sa.select(JOB).where(JOB.c.run == task.run)).first()
        if job is None or job.requester != requester:
            raise MessageError(f"run {task.run}: not a run of {requester!r}; submit its job first")
        if job.digest != task.job or task.site not in json.loads(job.signed)["message"]["sites"]:
            raise MessageError(f"run {task.run}: the task is not of this job, or {task.site!r} is none of its sites")
        # One that another has sent does not count: naming it would tell that it is there, and would let it be read.
        if task.inputs and not self.artefacts.has(connection, requester, task.inputs):
            raise MessageError(f"run {task.run}: its inputs have not arrived; send the artefact first")

    def outcomes(self, requester: str, tasks: Sequence[Task]) -> dict[str, Any]:
        """Returns what has come of a requester's own tasks so far, as JSON-ready signed messages by site."""
        found: dict[str, Any] = {}
        with self.tables.read() as connection:
            for task in tasks:
                row = connection.execute(q.THE_TASK, q.values_of(task)).first()
                mine = row is not None and row.requester == requester and row.digest == task.digest()
                if mine and row is not None and row.state == "done":
                    found[task.site] = json.loads(row.outcome)
        return found

    def withdraw(self, requester: str, tasks: Sequence[Task]) -> None:
        """Withdraws tasks that are not done: their sites' answers come too late from now on."""
        with self.tables.change() as connection:
            for task in tasks:
                job = connection.execute(sa.select(JOB.c.requester).where(JOB.c.run == task.run)).scalar()
                if job != requester:
                    raise MessageError(f"run {task.run}: not a run of {requester!r}")
                gone = TASK.update().where(*q.key_of(task), TASK.c.state.in_(("ready", "leased")))
                if connection.execute(gone.values(state="withdrawn")).rowcount:
                    self.tables.note(connection, requester, "withdraw", {"task": task.digest()})

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
                sites = connection.execute(sa.select(TASK.c.site).where(TASK.c.run == run).distinct())
                self.artefacts.release(connection, gone, [requester, *(row.site for row in sites)])
                self.tables.note(connection, requester, "collect", {"run": run, "through_round": through_round})
        self.artefacts.tidy(gone)
        return len(gone)

    def sweep(self, older_s: float = SWEEP_AGE_S) -> int:
        """Deletes artefacts that no task names, such as those of uploads that were given up. Returns how many."""
        return self.artefacts.sweep(self._is_named, older_s)

    def _is_named(self, connection: Connection, digest: str) -> bool:
        query = sa.select(TASK.c.run).where(sa.or_(TASK.c.inputs == digest, TASK.c.result == digest)).limit(1)
        return connection.execute(query).first() is not None

    # The site's side

    def lease(self, site: str) -> dict[str, Any] | None:
        """Leases a task that is not done: the oldest one of the requester whom the site served least recently.

        So nobody's tasks, however many, hold up another's. One agent a site: a lease of before is void at once.

        Returns:
            Task, job, fence and `expires_s`, or None where there is nothing to do.
        """
        with self.tables.read() as connection:
            if connection.execute(q.WAITING, {"at_site": site}).first() is None:
                return None
        member = self.members.member(site)
        if member is None or member.state != "admitted":
            # Its request may have been held open since before it was revoked.
            raise MessageError(f"{site!r} is no member, or was revoked")
        # Not durable by itself: after a power cut the task is leased again. The next durable change syncs its line.
        with self.tables.hint() as connection:
            row = connection.execute(q.NEXT, {"at_site": site}).first()
            if row is None:
                return None
            fence = row.fence + 1
            values = {"of_run": row.run, "at_site": site, "of_round": row.round, "of_call": row.call}
            connection.execute(q.LEASE, {**values, "new_fence": fence, "new_until": self.clock() + LEASE_S})
            turn = {"at_site": site, "of": row.requester, "now": (row.newest or 0) + 1}
            if not connection.execute(q.SERVE, turn).rowcount:
                connection.execute(SERVED.insert(), {"site": site, "requester": row.requester, "turn": turn["now"]})
            self.tables.note(connection, site, "lease", {"task": row.digest, "fence": fence})
            job = row.job
        return {"task": json.loads(row.signed), "job": json.loads(job), "fence": fence, "expires_s": LEASE_S}

    def renew(self, site: str, task: Task, fence: int) -> bool:
        """Extends a lease. Returns False where it is no longer held, or the task was withdrawn."""
        held = (*q.key_of(task), TASK.c.site == site, TASK.c.fence == fence, TASK.c.state == "leased")
        with self.tables.change() as connection:
            done = connection.execute(TASK.update().where(*held).values(until=self.clock() + LEASE_S))
            return bool(done.rowcount)

    def finish(
        self,
        site: str,
        task: Task,
        fence: int,
        outcome: Signed[Answer] | Signed[Refusal],
        arrived: Sequence[Arrived] = (),
    ) -> Signed[Receipt] | None:
        """Takes what a site sends for a task. The same again is acknowledged again.

        Returns:
            The receipt, or None where the task was withdrawn.

        Raises:
            MessageError: it is not the site's, not of this task, under an older lease, or its artefact is missing.
        """
        finishing = self.finishing(site, task, fence, outcome, arrived)
        with self.tables.change() as connection:
            finished = finishing(connection)
        self.changed((finished.requester,))
        return finished.receipt

    def finishing(
        self, site: str, task: Task, fence: int, outcome: Signed[Answer] | Signed[Refusal], arrived: Sequence[Arrived]
    ) -> Callable[[Connection], Finished]:
        """Checks what a site sends for a task, and returns what is to be done with it in a transaction.

        Raises:
            MessageError: as `finish`.
        """
        message = self.members.verified(outcome, site)
        same = ("run", "site", "round", "call")
        if message.task != task.digest() or any(getattr(message, name) != getattr(task, name) for name in same):
            raise MessageError("the outcome is not of the task that was leased")
        # Who knows its own task knows the other sites' too, and could end them in their place.
        if task.site != site:
            raise MessageError(f"the task is of {task.site}, and {site} answers")
        result = message.result if isinstance(message, Answer) else ""

        def finish(connection: Connection) -> Finished:
            self.artefacts.take(connection, site, arrived)
            if result and not self.artefacts.has(connection, site, result):
                raise MessageError("the answer's artefact has not arrived; send it first")
            row = connection.execute(q.THE_TASK, q.values_of(task)).first()
            if row is None or row.digest != task.digest():
                raise MessageError("no such task was offered")
            if row.state == "withdrawn":
                return Finished(None)
            text = json.dumps(outcome.as_json())
            if row.state == "done":
                if row.outcome != text:
                    raise MessageError("the task is done, by another outcome")
                return Finished(from_json(json.loads(row.receipt), Receipt))
            if row.fence != fence:
                raise MessageError(f"the lease {fence} is over: the task was leased again since")
            at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            receipt = sign(self._key, COORDINATOR, Receipt(site, message.line, message.head, at))
            done = {"new_outcome": text, "new_result": result, "new_receipt": json.dumps(receipt.as_json())}
            connection.execute(q.DONE, q.values_of(task) | done)
            kind = "refuse" if isinstance(message, Refusal) else "answer"
            body = {"task": row.digest, "outcome": message.digest(), "line": message.line, "head": message.head}
            self.tables.note(connection, site, kind, body)
            return Finished(receipt, row.requester)

        return finish

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
            size = sa.select(sa.func.coalesce(sa.func.sum(sa.func.length(MAIL.c.body)), 0)).where(
                MAIL.c.sender == sender
            )
            if connection.execute(size).scalar_one() + len(body) > self.artefacts.quotas.mail:
                most = self.artefacts.quotas.mail
                raise MessageError(
                    f"more than {most:,} bytes of messages of {sender} would wait; they are not read yet"
                )
            connection.execute(MAIL.insert().values(recipient=recipient, sender=sender, body=body))
            self.tables.note(connection, sender, "relay", {"to": recipient, "bytes": len(body)})
        self.changed((recipient,))

    def mail(self, site: str, through: int = 0) -> list[tuple[int, str, bytes]]:
        """Returns the site's messages after number `through`, which it has, and deletes those up to it."""
        with self.tables.change() as connection:
            connection.execute(MAIL.delete().where(MAIL.c.recipient == site, MAIL.c.number <= through))
            query = sa.select(MAIL).where(MAIL.c.recipient == site).order_by(MAIL.c.number).limit(100)
            return [(row.number, row.sender, bytes(row.body)) for row in connection.execute(query)]


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
