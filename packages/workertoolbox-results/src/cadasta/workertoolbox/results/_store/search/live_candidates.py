"""Messages of live tasks that may match a query, before their results are looked up.

A backlog may have millions of messages, and hardly any of them has a result. Looking
for it takes longer than all other conditions together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery.states import RETRY
from sqlalchemy import (
    CompoundSelect,
    Connection,
    and_,
    func,
    or_,
    select,
    text,
    true,
    union_all,
)

from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import (
    IS_OPEN,
    IS_UNARCHIVED,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._database.types import NaiveUTC
from cadasta.workertoolbox.results._history.conditions import has_ended_with
from cadasta.workertoolbox.results._store.rows.filters import Condition
from cadasta.workertoolbox.results._store.search.query_conditions import (
    query_condition,
    restriction,
)
from cadasta.workertoolbox.results._store.search.request import Search

#: Fields without an index whose values a message has, unless the task is shown with a
#: run of another message.
_OF_MESSAGES = ("args", "header", "stamp", "origin", "service", "schedule", "rerun_of")


def candidate_conditions(connection: Connection, search: Search) -> Iterator[Condition]:
    """Yield conditions on `workertoolbox_task` that each task that matches meets."""
    dialect = connection.dialect.name
    for field in _OF_MESSAGES:
        node = restriction(search.query, field)
        if node is not None:
            own = query_condition(node, task, dialect)
            yield or_(own, task.c.id.in_(_shown_with_another_run()))
    if search.statuses is not None and search.statuses <= {*ENDED}:
        yield has_ended_with(task.c.id, search.statuses)
    runs = restriction(search.query, "run")
    if runs is not None:
        ended = _ENDED.subquery("ended")
        found = select(ended.c.task_id).where(query_condition(runs, ended, dialect))
        yield task.c.id.in_(found)


#: The live results of ended tasks, with the columns that the length of a run needs.
_ENDED = select(
    taskmeta.c.task_id,
    NaiveUTC(taskmeta.c.started_at).label("started_at"),
    taskmeta.c.date_done.label("finished_at"),
).where(text(IS_UNARCHIVED))


def _shown_with_another_run() -> CompoundSelect[Any]:
    """Return a query for the ids of tasks whose result is not of their message.

    The views define the same.
    """
    result, message = taskmeta.c, task.alias("message").c
    is_own = and_(
        func.coalesce(result.published_at == message.published_at, true()),
        func.coalesce(result.retries == message.retries, true()),
    )
    others = (
        select(result.task_id)
        .join_from(taskmeta, message.id.table, message.id == result.task_id)
        .where(result.status != RETRY, ~is_own)
    )
    # Each has an index.
    return union_all(*(others.where(text(live)) for live in (IS_OPEN, IS_UNARCHIVED)))
