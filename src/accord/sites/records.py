"""Journal, ledger and outbox of a site in one SQLite database, see `contracts.Records`.

Each method is one transaction that is on the disk when it returns (write-ahead log, synchronous=FULL), and is followed
by the journal's head in a file of its own. A kill between the two leaves a journal that is longer than its head, which
is no fault: a head that is ahead of its journal is.

The charge is the exception. It outlives a kill from the start, and a power cut from the sync of its answer or refusal
on, which is one for both. Nothing leaves before that, so a charge that a power cut takes back paid for nothing.

Records that lost something, or whose ledger is not what the journal says, are not used: epsilon that was spent and is
not known of could be spent again.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import AccordError, FederationError, StorageError
from accord.sites import journal, ledger, outbox, rules
from accord.sites.contracts import Charge, Known, Outgoing
from accord.sites.journal import Author
from accord.sites.policy import Budget
from accord.sites.refused import RefusedError
from accord.sites.verify import check_whole
from accord.transport.keys import public_hex, verify
from accord.transport.messages import Answer, Job, Receipt, Refusal, Signed, Task, from_json

_TABLES = """
CREATE TABLE IF NOT EXISTS work(
    run TEXT NOT NULL, round INTEGER NOT NULL, call INTEGER NOT NULL, task TEXT NOT NULL, kind TEXT NOT NULL,
    job TEXT NOT NULL, epsilon REAL, outgoing TEXT, result BLOB NOT NULL, acknowledged INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, round, call)) STRICT;
CREATE TABLE IF NOT EXISTS client(run TEXT PRIMARY KEY, carried BLOB NOT NULL) STRICT;
"""

BudgetOf = Callable[[Job, str], Budget | None]
"""Maps a job and a data set to what may be spent, by the policy as it is now."""


class SiteRecords:
    """A site's records.

    Args:
        path: the database, which is made where it is missing. `head.json` and `receipt.json` are beside it.
        site: the site's name.
        key: signs the journal.
        budget_of: what may be spent.
        coordinator: the coordinator's key, by which receipts are checked. Without it none is kept.
        now: tells the time.

    Raises:
        FederationError: the database cannot be opened, or lost something.
    """

    def __init__(
        self,
        path: Path,
        site: str,
        key: Ed25519PrivateKey,
        budget_of: BudgetOf,
        coordinator: str = "",
        now: Callable[[], datetime] = rules.now_utc,
    ) -> None:
        self._path, self._author, self._budget_of = path, Author(site, key), budget_of
        self._coordinator, self._now = coordinator, now
        self._head, self._receipt = path.with_name("head.json"), path.with_name("receipt.json")
        # Before the journal is read: another process that appends to it writes the head last.
        head = journal.read_head(self._head)
        if head is not None and not path.is_file():
            raise FederationError(f"{path}: missing, but there were records; put the database back")
        try:
            # Only one process writes charges: the agent holds the folder's lock.
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(journal.TABLES + ledger.TABLES + _TABLES)
            path.chmod(0o600)
            self._file = path.stat().st_ino
            receipt = journal.read_receipt(self._receipt, coordinator) if coordinator else None
            check_whole(self._database, head, receipt, site, public_hex(key))
            self._countersigned = 0 if receipt is None else receipt.message.line
            self._spending = ledger.read_spending(self._database)
            self._outbox = path.with_name("outbox")
            outbox.tidy(self._outbox, set(_filed(self._database, "1 = 1", ())))
        except sqlite3.Error as error:
            raise FederationError(f"{path}: the records cannot be opened: {error}") from error

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def known(self, run: str, round_number: int, call: int) -> Known | None:
        """See `contracts.Records.known`.

        Raises:
            RefusedError: it was answered, and its result was removed once it was no longer needed.
        """
        query = "SELECT task, epsilon, outgoing, result FROM work WHERE run = ? AND round = ? AND call = ?"
        row = self._database.execute(query, (run, round_number, call)).fetchone()
        if row is None:
            return None
        task, epsilon, text, result = row
        outgoing = None if text is None else _outgoing(json.loads(text))
        if outgoing is not None and isinstance(outgoing.message, Answer):
            result = outbox.read(self._outbox, task, outgoing.message.result, result)
        if outgoing is not None and isinstance(outgoing.message, Answer) and outgoing.message.result and not result:
            raise RefusedError("replay", f"round {round_number} was answered, and its result was collected")
        return Known(task, outgoing, result, epsilon)

    def newest(self, run: str) -> tuple[int, int] | None:
        """See `contracts.Records.newest`."""
        query = "SELECT round, call FROM work WHERE run = ? AND kind = 'train' ORDER BY round DESC, call DESC LIMIT 1"
        row = self._database.execute(query, (run,)).fetchone()
        return None if row is None else (row[0], row[1])

    def ended(self, run: str) -> bool:
        """See `contracts.Records.ended`."""
        query = "SELECT 1 FROM work WHERE run = ? AND kind = 'end' AND outgoing IS NOT NULL LIMIT 1"
        return self._database.execute(query, (run,)).fetchone() is not None

    def carried(self, run: str) -> bytes:
        """See `contracts.Records.carried`."""
        row = self._database.execute("SELECT carried FROM client WHERE run = ?", (run,)).fetchone()
        return b"" if row is None else bytes(row[0])

    def epsilons(self, charge: Charge, job: Job, *more: Charge) -> tuple[float, float]:
        """See `contracts.Records.epsilons`."""
        before = ledger.counted(self._spending, charge.data_set, self._budget(job, charge), self._now())
        after = before
        for each in (charge, *more):
            after = ledger.with_charge(after, each)
        return _epsilon(before, charge), _epsilon(after, charge)

    def check_stamp(self, stamp: dict[str, Any], job: Job) -> None:
        """See `contracts.Records.check_stamp`."""
        if journal.is_older(stamp, journal.newest_policy(self._database)):
            raise RefusedError("policy", "this site's policy is older than one that held before; its owner knows")
        newest = journal.newest_decision(self._database, job.request)
        if newest is not None and newest != stamp.get("decision"):
            raise RefusedError(
                "approval", "the decision on this request is not the one that was made last; its owner knows"
            )

    @property
    def cut_mark(self) -> str | None:
        """What the journal has of the secret by which bound rows are cut, or None."""
        return journal.newest_cut(self._database)

    @property
    def policy_version(self) -> int:
        """The newest version of the policy that the journal names, or 0."""
        return int(journal.newest_policy(self._database).get("version", 0))

    def check_budgets(self, job: Job, charge: Charge) -> None:
        """See `contracts.Records.check_budgets`."""
        asked = ledger.Asked(job.run, job.requester, job.request)
        ledger.check_budget(self._spending, charge, self._budget(job, charge), asked, self._now())

    def begin(self, task: Task, job: Job, charge: Charge | None, policy: dict[str, Any] | None = None) -> float | None:
        """See `contracts.Records.begin`."""
        entry = None
        with self._change(synced=False) as database:
            _check_job(database, task)
            # The same again would be charged twice: the caller asks `known` first, and this makes sure.
            if self.known(task.run, task.round, task.call) is not None:
                raise RefusedError("replay", "this work was begun before")
            epsilon = None if charge is None else self._charge(database, job, charge)
            body = {"task": task.digest(), "kind": task.kind, "run": task.run, "round": task.round, "call": task.call}
            body |= {"request": job.request, "requester": job.requester}
            body |= {} if policy is None else {"policy": policy}
            # Losses on training rows are no mechanism's either: after them, no epsilon of these rows holds.
            told = _told(job, charge) if charge is not None or task.kind in ("train", "losses") else None
            line = self._append(
                database, "begin", body | ({} if told is None else {"charge": told, "epsilon": epsilon})
            )
            if told is not None:
                plan = ledger.UNPROTECTED if charge is None else ledger.plan_text(charge.plan)
                entry = ledger.Entry(
                    task.run, task.round, task.call, told["data_set"], plan, told["rows"], told["steps"], job.requester,
                    job.request, line.at, line.number,
                )  # fmt: skip
                marks = ", ".join("?" * len(vars(entry)))
                database.execute(f"INSERT INTO charge({ledger.COLUMNS}) VALUES ({marks})", tuple(vars(entry).values()))
            database.execute(
                "INSERT INTO work(run, round, call, task, kind, job, epsilon, result) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, x'')",
                (task.run, task.round, task.call, task.digest(), task.kind, task.job, epsilon),
            )
            # What was acknowledged in rounds before is needed no more: the requester made this round of it.
            dropped = _drop_results(database, task.run, task.round)
        outbox.drop(self._outbox, dropped)
        if entry is not None:
            self._spending.add(entry)
        return epsilon

    def check_begun(self, task: Task, charge: Charge | None) -> None:
        """See `contracts.Records.check_begun`."""
        query = "SELECT data_set, plan, rows, steps FROM charge WHERE run = ? AND round = ? AND call = ? AND plan != ?"
        key = (task.run, task.round, task.call, ledger.UNPROTECTED)
        paid = self._database.execute(query, key).fetchone()
        now = charge and (charge.data_set, ledger.plan_text(charge.plan), charge.rows, charge.steps)
        if paid != now:
            raise RefusedError("replay", "this was begun and charged over other rows or with other noise; start a run")

    def _charge(self, database: sqlite3.Connection, job: Job, charge: Charge) -> float:
        last = database.execute("SELECT max(line) FROM charge").fetchone()[0] or 0
        if last != self._spending.last:
            # Another process charged, or an earlier charge was on the disk when it was said not to be.
            self._spending = ledger.read_spending(database)
        budget = self._budget(job, charge)
        now, asked = self._now(), ledger.Asked(job.run, job.requester, job.request)
        ledger.check_budget(self._spending, charge, budget, asked, now)
        counted = ledger.counted(self._spending, charge.data_set, budget, now)
        return _epsilon(ledger.with_charge(counted, charge), charge)

    def _budget(self, job: Job, charge: Charge) -> Budget:
        budget = self._budget_of(job, charge.data_set)
        if budget is None:
            raise RefusedError("budget", f"nothing may be spent on data set {charge.data_set!r} here")
        return budget

    def finish(
        self,
        task: Task,
        entry: dict[str, Any],
        make: Callable[[int, str], Outgoing],
        result: bytes = b"",
        carried: bytes | None = None,
    ) -> Outgoing:
        """See `contracts.Records.finish`."""
        stored, dropped = outbox.keep(self._outbox, task.digest(), result), list[str]()
        with self._change() as database:
            head = {"task": task.digest(), "run": task.run, "round": task.round, "call": task.call}
            line = self._append(database, str(entry["what"]), {**head, **entry})
            outgoing = make(line.number, line.hash)
            if isinstance(outgoing.message, Answer):
                self._keep(database, task, outgoing, stored)
                if carried is not None:
                    database.execute("INSERT OR REPLACE INTO client VALUES (?, ?)", (task.run, carried))
                if task.kind == "end":
                    database.execute("DELETE FROM client WHERE run = ?", (task.run,))
                    dropped = _drop_results(database, task.run, None)
        outbox.drop(self._outbox, dropped)
        return outgoing

    def _keep(self, database: sqlite3.Connection, task: Task, outgoing: Outgoing, result: bytes) -> None:
        """Puts an answer into the outbox. One that is there is never replaced: it may have been sent."""
        _check_job(database, task)
        text = json.dumps(outgoing.as_json())
        kept = database.execute(
            "INSERT INTO work(run, round, call, task, kind, job, outgoing, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT(run, round, call) DO UPDATE SET outgoing = excluded.outgoing, result = excluded.result "
            "WHERE outgoing IS NULL AND task = excluded.task",
            (task.run, task.round, task.call, task.digest(), task.kind, task.job, text, result),
        )
        if kept.rowcount != 1:
            raise RefusedError("replay", f"round {task.round} was answered before")

    def acknowledge(self, task: Task, receipt: Signed[Receipt] | None) -> None:
        """See `contracts.Records.acknowledge`. A receipt that is not the coordinator's, or of another line, is none."""
        # Not a line of the journal: it would need a receipt of its own, and so on.
        with _storage(self._path), self._unsynced():
            self._database.execute(
                "UPDATE work SET acknowledged = 1 WHERE run = ? AND round = ? AND call = ? AND task = ?",
                (task.run, task.round, task.call, task.digest()),
            )
            if receipt is not None and self._is_of_this_journal(receipt):
                journal.write_evidence(self._receipt, receipt.as_json())
                self._countersigned = receipt.message.line

    @contextmanager
    def _unsynced(self) -> Iterator[None]:
        """Writes without waiting for the disk: what is lost in a power cut is asked, and acknowledged, once more."""
        self._database.execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            self._database.execute("PRAGMA synchronous=FULL")

    def _is_of_this_journal(self, receipt: Signed[Receipt]) -> bool:
        message = receipt.message
        if not self._coordinator or message.site != self._author.site or message.line <= self._countersigned:
            return False
        try:
            verify(receipt, self._coordinator, "coordinator")
        except AccordError:
            return False
        row = self._database.execute("SELECT hash FROM journal WHERE number = ?", (message.line,)).fetchone()
        return row is not None and row[0] == message.head

    def note(self, kind: str, body: dict[str, Any]) -> None:
        """Appends a line on something that happened at the site itself, such as a changed policy."""
        with self._change() as database:
            self._append(database, kind, body)

    def hand_over(self, key: Ed25519PrivateKey) -> None:
        """Appends the line by which the site's next key takes over from this one, and goes on under it."""
        with self._change() as database:
            self._append(database, "key", {"before": public_hex(self._author.key), "key": public_hex(key)})
        self._author = Author(self._author.site, key)

    def _append(self, database: sqlite3.Connection, kind: str, body: dict[str, Any]) -> journal.Line:
        return journal.append(database, self._author, kind, body, self._now())

    @contextmanager
    def _change(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction, and the journal's head after it. Without a sync there is no head, which could outlive it."""
        database = self._database
        with _storage(self._path), nullcontext() if synced else self._unsynced():
            if self._path.stat().st_ino != self._file:
                # What is written would go to the file that is no longer there.
                raise StorageError(f"{self._path}: another file took its place; start the agent again")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            row = database.execute("SELECT number, hash FROM journal ORDER BY number DESC LIMIT 1").fetchone()
            if row is not None and synced:
                journal.write_head(self._head, self._author, row[0], row[1])


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    """Tells of a disk that is full or refuses in one line. What was on it before is whole."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"{path}: the records cannot be written ({error}); make room, or mend the disk") from error


def _epsilon(spent: ledger.Spent, charge: Charge) -> float:
    try:
        epsilon = ledger.epsilon_spent(spent, charge.plan.delta, charge.plan.accountant)
    except AccordError as error:
        raise RefusedError("unit", "the study's privacy does not add up with what earlier ones spent") from error
    if not epsilon < float("inf"):
        raise RefusedError("budget", "these rows were trained on without privacy, after which no epsilon holds")
    return epsilon


def _told(job: Job, charge: Charge | None) -> dict[str, Any]:
    """Returns what a line has of a charge. Training without privacy has no plan, and is known by its data set."""
    if charge is None:
        data_set = json.loads(job.study).get("data", {}).get("data_set", "")
        return {"data_set": data_set, "rows": 0, "steps": 1, "plan": None}
    plan = json.loads(ledger.plan_text(charge.plan))
    return {"data_set": charge.data_set, "rows": charge.rows, "steps": charge.steps, "plan": plan}


def _check_job(database: sqlite3.Connection, task: Task) -> None:
    """Refuses a task of a run that was begun under another job: its budget, and its end, are that job's."""
    if database.execute("SELECT 1 FROM work WHERE run = ? AND job != ? LIMIT 1", (task.run, task.job)).fetchone():
        raise RefusedError("replay", "the run was begun here under another job; give each run a number of its own")


def _drop_results(database: sqlite3.Connection, run: str, before: int | None) -> list[str]:
    """Drops the results of a run that were acknowledged, of rounds before that one. Returns the files to delete."""
    where = "run = ? AND round < ? AND acknowledged = 1 AND length(result) > 0"
    bound = (run, 2**53 if before is None else before)
    names = _filed(database, where, bound)
    database.execute(f"UPDATE work SET result = x'' WHERE {where}", bound)
    return names


def _filed(database: sqlite3.Connection, where: str, bound: tuple[object, ...]) -> list[str]:
    rows = database.execute(f"SELECT task, outgoing FROM work WHERE result = x'00' AND {where}", bound)
    return [outbox.name_of(task, json.loads(text)["message"]["result"]) for task, text in rows]


def _outgoing(value: dict[str, Any]) -> Outgoing:
    refused = value["message"]["type"] == "refusal"
    return from_json(value, Refusal) if refused else from_json(value, Answer)
