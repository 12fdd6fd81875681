"""A site's ledger: epsilon that was spent on each data set's rows, composed over everything that was ever charged.

A charge is a row of the same database as the journal, written in the same transaction as its journal line. Charges
under different plans, and of different numbers of rows, compose by `dp-accounting`; nothing is added up by hand.

Totals are kept in memory beside the table, so that a round costs the same after a million charges as after one. They
are read from the table when it is opened, and grow when a charge is on the disk.
"""

import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from accord.core.errors import AccordError
from accord.orchestration.site_run import EVALUATE
from accord.privacy.accounting import Accountant, Events, epsilon_of, epsilon_of_curve, rdp_curve
from accord.privacy.ledger import check_together
from accord.privacy.plan import PrivacyPlan
from accord.sites.contracts import Charge
from accord.sites.policy import Budget
from accord.sites.refused import RefusedError

TABLES = """
CREATE TABLE IF NOT EXISTS charge(
    run TEXT NOT NULL, round INTEGER NOT NULL, call INTEGER NOT NULL, data_set TEXT NOT NULL, plan TEXT NOT NULL,
    rows INTEGER NOT NULL, steps INTEGER NOT NULL, requester TEXT NOT NULL, request TEXT NOT NULL, at TEXT NOT NULL,
    line INTEGER NOT NULL, PRIMARY KEY (run, round, call)) STRICT;
CREATE TRIGGER IF NOT EXISTS charge_is_not_changed BEFORE UPDATE ON charge
    BEGIN SELECT RAISE(ABORT, 'a charge is never changed'); END;
CREATE TRIGGER IF NOT EXISTS charge_is_not_taken_back BEFORE DELETE ON charge
    BEGIN SELECT RAISE(ABORT, 'a charge is never taken back'); END;
"""
COLUMNS = "run, round, call, data_set, plan, rows, steps, requester, request, at, line"
UNPROTECTED = ""
"""Stands for the plan of training without privacy, whose epsilon is infinite."""
_SLACK = 1e-12  # rounding in the last bit of a sum that meets its budget

_FEW = 3
"""Mechanisms that are composed anew each time. Of more, what each adds at every Renyi order is kept."""

Spent = Mapping[tuple[str, int], int]
"""Applications of a mechanism by plan, in canonical JSON, and number of rows."""
Counts = dict[tuple[str, int], int]


@dataclass(frozen=True)
class Entry:
    """A row of the ledger.

    Attributes:
        run: the task's run.
        round: its round.
        call: its call.
        data_set: whose rows.
        plan: the mechanism in canonical JSON, or `UNPROTECTED`.
        rows: training rows.
        steps: applications of the mechanism.
        requester: who asked.
        request: hash of what was approved.
        at: when, ISO 8601 in UTC.
        line: number of its journal line.
    """

    run: str
    round: int
    call: int
    data_set: str
    plan: str
    rows: int
    steps: int
    requester: str
    request: str
    at: str
    line: int


@dataclass(frozen=True)
class Asked:
    """In whose name a charge is made.

    Attributes:
        run: the run.
        requester: who asks.
        request: hash of the study and all that is approved with it.
    """

    run: str
    requester: str
    request: str


@dataclass
class Spending:
    """What was charged, summed for each scope that a budget may have.

    Attributes:
        last: the newest journal line of a charge.
    """

    last: int = 0
    _sums: dict[tuple[str, ...], Counts] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    _days: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, entry: Entry) -> None:
        """Adds a charge that is on the disk."""
        day = entry.at[:10]
        key = (entry.plan, entry.rows)
        for scope in (
            ("all",), ("day", day), ("study", entry.request), ("requester", entry.requester),
            ("run" if entry.round > 0 and entry.call < EVALUATE else "release", entry.run),
        ):  # fmt: skip
            self._sums[(entry.data_set, *scope)][key] += entry.steps
        self._days[entry.data_set].add(day)
        self.last = max(self.last, entry.line)

    def of(self, data_set: str, *scope: str) -> Spent:
        """Returns the charges to a data set in a scope: `all`, or `study`, `requester` or `run` and which.

        Of a run only its training counts, and no release of counts beside it.
        """
        return self._sums.get((data_set, *scope), {})

    def since(self, data_set: str, day: str) -> Spent:
        """Returns the charges to a data set from a day on, ISO 8601."""
        total: Counts = defaultdict(int)
        for each in self._days.get(data_set, ()):
            # Also days after today, which a clock that was set back leaves behind.
            if each >= day:
                for key, steps in self._sums[(data_set, "day", each)].items():
                    total[key] += steps
        return total


def read_spending(database: sqlite3.Connection) -> Spending:
    """Sums everything that was charged."""
    spending = Spending()
    for row in database.execute(f"SELECT {COLUMNS} FROM charge"):
        spending.add(Entry(*row))
    return spending


def counted(spending: Spending, data_set: str, budget: Budget, now: datetime) -> Spent:
    """Returns the charges that count in a budget's total."""
    starts = [] if budget.since is None else [budget.since.isoformat()]
    if budget.refresh_days is not None:
        starts.append((now - timedelta(days=budget.refresh_days)).date().isoformat())
    return spending.since(data_set, max(starts)) if starts else spending.of(data_set, "all")


def with_charge(before: Spent, charge: Charge) -> Spent:
    """Returns what will have been charged after a charge."""
    total: Counts = defaultdict(int, before)
    total[(plan_text(charge.plan), charge.rows)] += charge.steps
    return total


def epsilon_spent(charged: Spent, delta: float, accountant: Accountant = "rdp", *, quick: bool = False) -> float:
    """Composes charges to one epsilon, which is infinite where something was trained without privacy.

    Args:
        charged: what was charged.
        delta: of (epsilon, delta).
        accountant: the accountant.
        quick: give a cheaper upper bound.

    Raises:
        PrivacyError: the charges do not compose.
    """
    if any(text == UNPROTECTED and steps for (text, _), steps in charged.items()):
        return math.inf
    parts = [(read_plan(text), rows, steps) for (text, rows), steps in charged.items() if steps]
    if not parts:
        return 0.0
    check_together(parts[0][0], [plan for plan, _, _ in parts[1:]])
    if accountant == "rdp" and len(parts) > _FEW:
        total = sum(steps * _curve(text, rows) for (text, rows), steps in charged.items() if steps)
        return epsilon_of_curve(np.asarray(total), delta)
    # Each event has the sensitivity of its own relation in its noise already, as in `PrivacyPlan.epsilon`.
    events: Events = tuple((plan.event(rows), steps, "add_remove") for plan, rows, steps in parts)
    return epsilon_of(events, delta, accountant, quick=quick)


@lru_cache(maxsize=65536)
def _curve(text: str, rows: int) -> NDArray[np.float64]:
    return rdp_curve(read_plan(text).event(rows))


def check_budget(spending: Spending, charge: Charge, budget: Budget, asked: Asked, now: datetime) -> None:
    """Refuses a charge that would pass any budget.

    Raises:
        RefusedError: `budget`, with the scope, the limit and what it would come to; `unit`, where the charge does not
            compose with earlier ones.
    """
    plan = charge.plan
    for name, limit, delta, accountant, before in _scopes(spending, charge, budget, asked, now):
        after = with_charge(before, charge)
        most = limit * (1 + _SLACK)
        try:
            # The quick bound is never below the exact epsilon, so what it allows needs no second computation.
            if epsilon_spent(after, delta, accountant, quick=True) <= most:
                continue
            epsilon = epsilon_spent(after, delta, accountant)
        except AccordError as error:
            raise RefusedError(
                "unit", f"privacy.unit {plan.unit} does not add up with what earlier studies spent on these rows"
            ) from error
        # Not `>`: an epsilon that is no number is refused, too.
        if not epsilon <= most:
            come = f"come to {epsilon:.4g}" if math.isfinite(epsilon) else "follow training without privacy"
            raise RefusedError(
                "budget", f"the {name} budget is epsilon {limit:g} at delta {delta:g}, and this round would {come}"
            )


def _scopes(
    spending: Spending, charge: Charge, budget: Budget, asked: Asked, now: datetime
) -> Iterator[tuple[str, float, float, Accountant, Spent]]:
    """Yields each limit: its name, epsilon, delta and accountant, and what was charged in its scope."""
    plan, data_set = charge.plan, charge.data_set
    if plan.budget is not None:
        # What the study itself says that its rows may be charged with in a run, by its own accountant.
        # All of its training, also over another number of rows, or with the noise that follows from that.
        yield "run's own", plan.budget, plan.delta, plan.accountant, spending.of(data_set, "run", asked.run)
    given: tuple[tuple[str, float | None, Callable[[], Spent]], ...] = (
        ("study", budget.study, lambda: spending.of(data_set, "study", asked.request)),
        ("requester", budget.requester, lambda: spending.of(data_set, "requester", asked.requester)),
        ("month", budget.month, lambda: spending.since(data_set, now.strftime("%Y-%m-01"))),
        ("total", budget.total, lambda: counted(spending, data_set, budget, now)),
    )
    for name, limit, find in given:
        if limit is not None:
            yield name, limit, budget.delta, "rdp", find()


def plan_text(plan: PrivacyPlan) -> str:
    """Returns a plan in one form only, without the budget, which changes nothing of what is charged."""
    return _plan_text(plan)


@lru_cache(maxsize=4096)
def _plan_text(plan: PrivacyPlan) -> str:
    values = asdict(plan)
    values.pop("budget")
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=4096)
def read_plan(text: str) -> PrivacyPlan:
    """Reads a plan that `plan_text` wrote."""
    values = json.loads(text)
    if values.pop("adaptive") is not None:
        raise RefusedError("unit", "adaptive clipping is of unit client, which sites refuse")
    return PrivacyPlan(**values)
