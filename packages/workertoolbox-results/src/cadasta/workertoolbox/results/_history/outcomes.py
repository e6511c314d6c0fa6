"""Tasks whose outcome this database does not learn.

An app that is only tracked goes on storing results elsewhere, for example in Redis. Its
messages say so. But workers store the results, and those of its queue may be
configured otherwise. So the outcome of such a task is expected if its queue has had
results within the last days.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from celery import states
from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, text

from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.tables import (
    IS_OPEN,
    rollup,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history.closed_tasks import (
    TASK_COLUMNS,
    end_of,
    store_ends,
)
from cadasta.workertoolbox.results._history.conditions import has_result
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.tiers import TIERS, interval_start
from cadasta.workertoolbox.results._history.walks import next_step

#: A queue without a result for so long has no workers that store results here.
QUEUE_DAYS = 7

#: How long after it could run a task is closed whose outcome is not known. The queue
#: may get workers that store results here.
CLOSED_AFTER = timedelta(days=1)

#: Maximum number of tasks that one run looks at.
STEP_SIZE = 5000

#: Statuses that only workers store.
_RUN = (states.SUCCESS, states.FAILURE, states.RETRY)


def is_outcome_expected(now: datetime) -> ColumnElement[bool]:
    """Return the condition that workers store the outcome of a task here."""
    first = interval_start(now - timedelta(days=QUEUE_DAYS), TIERS["day"])
    ended = select(rollup.c.queue).where(
        rollup.c.tier == "day", rollup.c.at >= first, rollup.c.status.in_(_RUN)
    )
    running = select(taskmeta.c.queue).where(
        text(IS_OPEN), taskmeta.c.queue.is_not(None)
    )
    return or_(
        task.c.results_elsewhere.is_(None),
        # The query around them may have these tables too.
        task.c.queue.in_(ended.correlate(None)),
        task.c.queue.in_(running.correlate(None)),
    )


def where_results_are(kind: str) -> str:
    """Return a clause about tasks whose sender has such a result backend."""
    if kind == "disabled":
        return "its workers store no results, so that its outcome is not known"
    return (
        f"its result is stored elsewhere ({kind}): its outcome is not known here, and "
        "AsyncResult in the service that sent it has it"
    )


def close_unexpected(
    connection: Connection, now: datetime, options: ArchiveOptions
) -> None:
    """Store an end, as `IGNORED`, for tasks whose outcome is not learned here.

    The time of the end is that at which the task could run, as nothing says more. A
    state that a worker stores later replaces it.
    """
    before = now - CLOSED_AFTER
    is_old = and_(
        task.c.results_elsewhere.is_not(None),
        task.c.scheduled_at < before,
        or_(task.c.eta.is_(None), task.c.eta < before),
    )
    order = [task.c.scheduled_at, task.c.id]
    step = next_step(connection, options, order, is_old, size=STEP_SIZE)
    names = ("scheduled_at", "eta", "published_at", "results_elsewhere")
    columns = [task.c[name] for name in (*TASK_COLUMNS, *names)]

    def close(ids: Sequence[str]) -> set[str]:
        query = (
            select(*columns)
            .where(is_in(connection, task.c.id, ids), is_old)
            .where(~is_outcome_expected(now), ~has_result(task.c.id))
            .order_by(task.c.id)
            .with_for_update(skip_locked=True, of=task)
        )
        ends = map(_end, connection.execute(query))
        return store_ends(connection, ends, options.faulty)

    options.faulty.process(
        *(connection, [id for _, id in step], close), what="task without an outcome"
    )


def _end(row: Row[Any]) -> dict[str, Any]:
    return end_of(
        row,
        states.IGNORED,
        ended_at=max(row.scheduled_at, row.eta or row.scheduled_at),
        published_at=row.published_at,
        result=json.dumps(where_results_are(row.results_elsewhere)).encode(),
        # `AsyncResult` answers as it did before: it knows no result.
        forgotten=True,
    )
