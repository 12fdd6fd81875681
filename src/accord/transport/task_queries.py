"""What the coordinator asks of its tables about tasks, in every round.

Statements are built once: building one takes longer than SQLite takes for it.
"""

from typing import Any

import sqlalchemy as sa

from accord.transport.messages import Task
from accord.transport.tables import JOB, SERVED, TASK


def key_of(task: Task) -> tuple[sa.ColumnElement[bool], ...]:
    """Returns the conditions that a row is a task's."""
    return (TASK.c.run == task.run, TASK.c.site == task.site, TASK.c.round == task.round, TASK.c.call == task.call)


def values_of(task: Task) -> dict[str, Any]:
    """Returns the parameters of `THE_TASK` and `DONE` that say which task."""
    return {"of_run": task.run, "at_site": task.site, "of_round": task.round, "of_call": task.call}


_THIS = (
    TASK.c.run == sa.bindparam("of_run"),
    TASK.c.site == sa.bindparam("at_site"),
    TASK.c.round == sa.bindparam("of_round"),
    TASK.c.call == sa.bindparam("of_call"),
)
THE_TASK = sa.select(TASK, JOB.c.requester).join(JOB, JOB.c.run == TASK.c.run).where(*_THIS)
_OPEN = (TASK.c.site == sa.bindparam("at_site"), TASK.c.state.in_(("ready", "leased")))
WAITING = sa.select(TASK.c.run).where(*_OPEN).limit(1)
_TURN = sa.and_(SERVED.c.site == TASK.c.site, SERVED.c.requester == JOB.c.requester)
_NEWEST_TURN = sa.select(sa.func.max(SERVED.c.turn)).where(SERVED.c.site == sa.bindparam("at_site")).scalar_subquery()
NEXT = (
    sa.select(TASK, JOB.c.requester, JOB.c.signed.label("job"), _NEWEST_TURN.label("newest"))
    .join(JOB, JOB.c.run == TASK.c.run)
    .outerjoin(SERVED, _TURN)
    .where(*_OPEN)
    .order_by(sa.func.coalesce(SERVED.c.turn, 0), TASK.c.position)
    .limit(1)
)
LEASE = (
    TASK.update().where(*_THIS).values(state="leased", fence=sa.bindparam("new_fence"), until=sa.bindparam("new_until"))
)
SERVE = (
    SERVED.update()
    .where(SERVED.c.site == sa.bindparam("at_site"), SERVED.c.requester == sa.bindparam("of"))
    .values(turn=sa.bindparam("now"))
)
DONE = (
    TASK.update()
    .where(*_THIS)
    .values(
        state="done",
        outcome=sa.bindparam("new_outcome"),
        result=sa.bindparam("new_result"),
        receipt=sa.bindparam("new_receipt"),
    )
)
