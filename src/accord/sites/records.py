"""Journal, ledger and outbox of a site in one SQLite database, see `contracts.Records`.

Each method is one transaction that is on the disk when it returns (write-ahead log, synchronous=FULL), and is followed
by the journal's head in a file of its own. A kill between the two leaves a journal that is longer than its head, which
is no fault: a head that is ahead of its journal is.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accord.core.errors import FederationError
from accord.sites import journal, ledger
from accord.sites.contracts import Charge, Known, Outgoing
from accord.sites.policy import Budget
from accord.sites.refused import RefusedError
from accord.transport.identity import write_durably
from accord.transport.messages import Answer, Job, Receipt, Refusal, Signed, Task, from_json

_TABLES = """
CREATE TABLE IF NOT EXISTS work(
    run TEXT NOT NULL, round INTEGER NOT NULL, call INTEGER NOT NULL, task TEXT NOT NULL, kind TEXT NOT NULL,
    epsilon REAL, outgoing TEXT, result BLOB NOT NULL, acknowledged INTEGER NOT NULL DEFAULT 0,
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
        key: signs the journal's head.
        budget_of: what may be spent.

    Raises:
        FederationError: the database cannot be opened.
    """

    def __init__(self, path: Path, site: str, key: Ed25519PrivateKey, budget_of: BudgetOf) -> None:
        self._site, self._key, self._budget_of = site, key, budget_of
        self._head, self._receipt = path.with_name("head.json"), path.with_name("receipt.json")
        try:
            # Only one process writes: the agent holds the folder's lock.
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(journal.TABLES + ledger.TABLES + _TABLES)
        except sqlite3.Error as error:
            raise FederationError(f"{path}: the records cannot be opened: {error}") from error
        path.chmod(0o600)

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def known(self, run: str, round_number: int, call: int) -> Known | None:
        """See `contracts.Records.known`."""
        query = "SELECT task, epsilon, outgoing, result FROM work WHERE run = ? AND round = ? AND call = ?"
        row = self._database.execute(query, (run, round_number, call)).fetchone()
        if row is None:
            return None
        task, epsilon, outgoing, result = row
        return Known(task, None if outgoing is None else _outgoing(json.loads(outgoing)), result, epsilon)

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

    def epsilons(self, charge: Charge) -> tuple[float, float]:
        """See `contracts.Records.epsilons`."""
        before = ledger.spent(self._database, charge.data_set)
        delta, accountant = charge.plan.delta, charge.plan.accountant
        return (
            ledger.epsilon_spent(before, delta, accountant),
            ledger.epsilon_spent(ledger.with_charge(before, charge), delta, accountant),
        )

    def begin(self, task: Task, job: Job, charge: Charge | None) -> float | None:
        """See `contracts.Records.begin`."""
        with self._change() as database:
            # The same again would be charged twice: the caller asks `known` first, and this makes sure.
            if self.known(task.run, task.round, task.call) is not None:
                raise RefusedError("replay", "this work was begun before")
            epsilon = None if charge is None else self._charge(database, task, job, charge)
            body = {"task": task.digest(), "kind": task.kind, "run": task.run, "round": task.round, "call": task.call}
            told = {} if charge is None else {"charge": _told(charge), "epsilon": epsilon}
            line = journal.append(database, "begin", {**body, "request": job.request, **told})
            if charge is not None:
                database.execute(
                    "INSERT INTO charge VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        task.run, task.round, task.call, charge.data_set, ledger.plan_text(charge.plan), charge.rows,
                        charge.steps, job.requester, job.request, line.at, line.number,
                    ),
                )  # fmt: skip
            database.execute(
                "INSERT INTO work(run, round, call, task, kind, epsilon, result) VALUES (?, ?, ?, ?, ?, ?, x'')",
                (task.run, task.round, task.call, task.digest(), task.kind, epsilon),
            )
            # What was acknowledged in rounds before is needed no more.
            database.execute(
                "UPDATE work SET result = x'' WHERE run = ? AND round < ? AND acknowledged = 1 AND length(result) > 0",
                (task.run, task.round),
            )
        return epsilon

    def _charge(self, database: sqlite3.Connection, task: Task, job: Job, charge: Charge) -> float:
        budget = self._budget_of(job, charge.data_set)
        if budget is None:
            raise RefusedError("budget", f"nothing may be spent on data set {charge.data_set!r} here")
        ledger.check_budget(database, charge, budget, job.requester, job.request)
        after = ledger.with_charge(ledger.spent(database, charge.data_set), charge)
        return ledger.epsilon_spent(after, charge.plan.delta, charge.plan.accountant)

    def finish(
        self,
        task: Task,
        entry: dict[str, Any],
        make: Callable[[int, str], Outgoing],
        result: bytes = b"",
        carried: bytes | None = None,
    ) -> Outgoing:
        """See `contracts.Records.finish`."""
        with self._change() as database:
            head = {"task": task.digest(), "run": task.run, "round": task.round, "call": task.call}
            line = journal.append(database, str(entry["what"]), {**head, **entry})
            outgoing = make(line.number, line.hash)
            if isinstance(outgoing.message, Answer):
                database.execute(
                    "INSERT INTO work(run, round, call, task, kind, outgoing, result) VALUES (?, ?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT(run, round, call) "
                    "DO UPDATE SET outgoing = excluded.outgoing, result = excluded.result",
                    (
                        task.run, task.round, task.call, task.digest(), task.kind, json.dumps(outgoing.as_json()),
                        result,
                    ),
                )  # fmt: skip
                if carried is not None:
                    database.execute("INSERT OR REPLACE INTO client VALUES (?, ?)", (task.run, carried))
                if task.kind == "end":
                    database.execute("DELETE FROM client WHERE run = ?", (task.run,))
        return outgoing

    def acknowledge(self, task: Task, receipt: Signed[Receipt] | None) -> None:
        """See `contracts.Records.acknowledge`."""
        # Not a line of the journal: it would need a receipt of its own, and so on.
        self._database.execute(
            "UPDATE work SET acknowledged = 1 WHERE run = ? AND round = ? AND call = ? AND task = ?",
            (task.run, task.round, task.call, task.digest()),
        )
        if receipt is not None:
            write_durably(self._receipt, json.dumps(receipt.as_json()).encode() + b"\n", 0o600)

    def note(self, kind: str, body: dict[str, Any]) -> None:
        """Appends a line on something that happened at the site itself, such as a changed policy."""
        with self._change() as database:
            journal.append(database, kind, body)

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, and the journal's head after it."""
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise
        row = database.execute("SELECT number, hash FROM journal ORDER BY number DESC LIMIT 1").fetchone()
        if row is not None:
            journal.write_head(self._head, self._key, self._site, row[0], row[1])


def _told(charge: Charge) -> dict[str, Any]:
    plan = json.loads(ledger.plan_text(charge.plan))
    return {"data_set": charge.data_set, "rows": charge.rows, "steps": charge.steps, "plan": plan}


def _outgoing(value: dict[str, Any]) -> Outgoing:
    refused = value["message"]["type"] == "refusal"
    return from_json(value, Refusal) if refused else from_json(value, Answer)
