"""A site's ledger: epsilon that was spent on each data set's rows, composed over everything that was ever charged.

A charge is a row of the same database as the journal, written in the same transaction as its journal line. Charges
under different plans, and of different numbers of rows, compose by `dp-accounting`; nothing is added up by hand.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache

from accord.core.errors import AccordError
from accord.privacy.accounting import Accountant, Events, epsilon_of
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
CREATE INDEX IF NOT EXISTS charge_of ON charge(data_set);
"""
_SLACK = 1e-12  # rounding in the last bit of a sum that meets its budget


@dataclass(frozen=True)
class Scope:
    """Charges that a budget covers.

    Attributes:
        name: as the policy calls it.
        limit: epsilon at the budget's delta.
        where: a condition on charges.
        values: of the condition's parameters.
    """

    name: str
    limit: float
    where: str
    values: tuple[str, ...]


def scopes(budget: Budget, requester: str, request: str, now: datetime | None = None) -> tuple[Scope, ...]:
    """Returns the budgets that a charge must stay within."""
    month = (now or datetime.now(UTC)).strftime("%Y-%m")
    given = (
        ("study", budget.study, "request = ?", (request,)),
        ("requester", budget.requester, "requester = ?", (requester,)),
        ("month", budget.month, "substr(at, 1, 7) = ?", (month,)),
        ("total", budget.total, "1 = 1", ()),
    )
    return tuple(Scope(name, limit, where, values) for name, limit, where, values in given if limit is not None)


Spent = Mapping[tuple[str, int], int]
"""Applications of a mechanism by plan, in canonical JSON, and number of rows."""


def spent(database: sqlite3.Connection, data_set: str, where: str = "1 = 1", values: Iterable[str] = ()) -> Spent:
    """Returns what was charged to a data set's rows."""
    query = f"SELECT plan, rows, SUM(steps) FROM charge WHERE data_set = ? AND {where} GROUP BY plan, rows"
    return {(plan, rows): steps for plan, rows, steps in database.execute(query, (data_set, *values))}


def with_charge(before: Spent, charge: Charge) -> Spent:
    """Returns what will have been charged after a charge."""
    total: dict[tuple[str, int], int] = defaultdict(int, before)
    total[(plan_text(charge.plan), charge.rows)] += charge.steps
    return dict(total)


def epsilon_spent(charged: Spent, delta: float, accountant: Accountant = "rdp") -> float:
    """Composes charges to one epsilon.

    Args:
        charged: what was charged.
        delta: of (epsilon, delta).
        accountant: the accountant.

    Raises:
        PrivacyError: the charges do not compose.
    """
    parts = [(read_plan(text), rows, steps) for (text, rows), steps in charged.items() if steps]
    if not parts:
        return 0.0
    check_together(parts[0][0], [plan for plan, _, _ in parts[1:]])
    # Each event has the sensitivity of its own relation in its noise already, as in `PrivacyPlan.epsilon`.
    events: Events = tuple((plan.event(rows), steps, "add_remove") for plan, rows, steps in parts)
    return epsilon_of(events, delta, accountant)


def check_budget(database: sqlite3.Connection, charge: Charge, budget: Budget, requester: str, request: str) -> None:
    """Refuses a charge that would pass any budget.

    Raises:
        RefusedError: `budget`, with the scope, the limit and what it would come to; `unit`, where the charge does not
            compose with earlier ones.
    """
    for scope in scopes(budget, requester, request):
        after = with_charge(spent(database, charge.data_set, scope.where, scope.values), charge)
        try:
            epsilon = epsilon_spent(after, budget.delta)
        except AccordError as error:
            raise RefusedError("unit", "the study's privacy does not add up with what earlier ones spent") from error
        # Not `>`: an epsilon that is no number is refused, too.
        if not epsilon <= scope.limit * (1 + _SLACK):
            raise RefusedError(
                "budget",
                f"the {scope.name} budget is epsilon {scope.limit:g} at delta {budget.delta:g}, and this round would "
                f"come to {epsilon:.4g}",
            )


def plan_text(plan: PrivacyPlan) -> str:
    """Returns a plan in one form only, without the budget, which changes nothing of what is charged."""
    values = asdict(plan)
    values.pop("budget")
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=256)
def read_plan(text: str) -> PrivacyPlan:
    """Reads a plan that `plan_text` wrote."""
    values = json.loads(text)
    if values.pop("adaptive") is not None:
        raise RefusedError("unit", "adaptive clipping is of unit client, which sites refuse")
    return PrivacyPlan(**values)
