"""Tasks whose worker died after it had acknowledged them.

Such a task does not run again, and its end is never stored. It is shown as lost when it
should have ended and its worker has stored nothing for some minutes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from celery import states
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    Row,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    func,
    or_,
    select,
    true,
    update,
)

from cadasta.workertoolbox.results._database.given_rows import (
    encode_instant,
    encode_rows,
    given_rows,
)
from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.statuses import ENDED, LOST
from cadasta.workertoolbox.results._database.tables import task, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.clocks import MAX_SKEW
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.walks import next_step

#: Maximum number of running tasks that one run looks at.
STEP_SIZE = 5000

#: Factor on the time after which a task is lost, if its worker still stores states: the
#: worker may have been restarted under the same name.
ACTIVE_FACTOR = 4


def mark_lost(connection: Connection, now: datetime, options: ArchiveOptions) -> None:
    """Mark running tasks as lost if their worker has died.

    A task that is delivered again has a new start. A state that a task stores later
    replaces the mark.
    """
    since = naive_utc(now - timedelta(seconds=options.silent_s))
    result = taskmeta.c
    step = next_step(
        *(connection, options, [result.date_done, result.task_id]),
        *(_IS_RUNNING, result.date_done < since),
        size=STEP_SIZE,
    )

    def mark(ids: Sequence[str]) -> Sequence[str]:
        overdue = [
            (row, run_s, _bound_s(row, options))
            for row in _find_running(connection, ids, now, options)
            if (run_s := _seconds_since(row.date_done, now)) > _bound_s(row, options)
        ]
        workers = {row.worker for row, *_ in overdue}
        active = _find_active(connection, workers, since, now)
        marks = [
            (row.task_id, row.date_done, _reason(row, is_silent=not is_active))
            for row, run_s, bound_s in overdue
            if not (is_active := row.worker in active)
            or run_s > ACTIVE_FACTOR * bound_s
        ]
        _store_marks(connection, marks, now)
        return ids

    ids = [id for _, id in step]
    options.faulty.process(connection, ids, mark, what="running task")


_IS_RUNNING = and_(
    # The second condition is that of the index.
    *(taskmeta.c.status == states.STARTED, taskmeta.c.status.not_in(ENDED)),
    taskmeta.c.task_id.is_not(None),
)


def _store_marks(
    connection: Connection, marks: Iterable[tuple[str, datetime, str]], now: datetime
) -> None:
    """Mark tasks as lost with one statement, except those with a new state.

    Args:
        marks: The id of each, when its state was stored, and the reason.
    """
    dialect = connection.dialect.name
    rows = [[id, encode_instant(at, dialect), reason] for id, at, reason in marks]
    if rows:
        connection.execute(
            _mark(dialect), {"rows": encode_rows(rows), "at": naive_utc(now)}
        )


@cache
def _mark(dialect: str) -> Update:
    columns = [taskmeta.c.task_id, taskmeta.c.date_done, Column("reason", Text)]
    lost = given_rows(dialect, columns).subquery("lost")
    reason: ColumnElement[Any] = cast(lost.c.reason, LargeBinary)
    if dialect == "postgresql":
        reason = func.convert_to(lost.c.reason, "UTF8")
    return (
        update(taskmeta)
        .where(
            taskmeta.c.task_id == lost.c.task_id,
            taskmeta.c.status == states.STARTED,
            taskmeta.c.date_done == lost.c.date_done,
        )
        .values(status=LOST, result=reason, date_done=bindparam("at"))
    )


def _find_running(
    connection: Connection,
    ids: Sequence[str],
    now: datetime,
    options: ArchiveOptions,
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return tasks that have run longer than `LOST_AFTER`, or that have a time limit.

    Tasks that were published again are left out.
    """
    result = taskmeta.c
    # Also true of a task whose message was not seen.
    is_same = and_(
        func.coalesce(task.c.retries == result.retries, true()),
        func.coalesce(task.c.published_at == result.published_at, true()),
    )
    until = naive_utc(now - timedelta(seconds=options.lost_after_s))
    query = (
        select(result.task_id, result.worker, result.date_done, task.c.time_limit_s)
        .join_from(taskmeta, task, task.c.id == result.task_id, isouter=True)
        .where(is_in(connection, result.task_id, ids), _IS_RUNNING)
        .where(or_(result.date_done < until, task.c.time_limit_s.is_not(None)))
        .where(is_same)
        .order_by(result.task_id)
    )
    return connection.execute(query).all()


def _find_active(
    connection: Connection,
    workers: Iterable[str | None],
    since: datetime,
    now: datetime,
) -> set[str]:
    """Return those of the workers that have stored a state since an instant.

    Args:
        now: Times more than `MAX_SKEW` later come from wrong clocks.
    """
    wanted = sorted(worker for worker in workers if worker is not None)
    if not wanted:
        return set()
    stored = select(taskmeta.c.worker).distinct()
    until = naive_utc(now + MAX_SKEW)
    stored = stored.where(taskmeta.c.date_done.between(since, until))
    stored = stored.where(taskmeta.c.status != LOST)  # The archiver has stored it.
    by_them = is_in(connection, taskmeta.c.worker, wanted)
    return {*connection.scalars(stored.where(by_them))}


def _seconds_since(started_at: datetime, now: datetime) -> float:
    return (now - started_at.replace(tzinfo=UTC)).total_seconds()


def _bound_s(row: Row[*tuple[Any, ...]], options: ArchiveOptions) -> float:
    """Return the seconds after which a task is overdue.

    A worker that is alive ends a task at its time limit, and stores the end.
    """
    if row.time_limit_s is None:
        return options.lost_after_s
    return float(row.time_limit_s) + options.silent_s


def _reason(row: Row[Any], *, is_silent: bool) -> str:
    """Return why a task counts as lost, as JSON."""
    worker = row.worker or "its worker"
    did = "stores nothing any more" if is_silent else "stores only other tasks"
    reason = f"lost: started at {row.date_done:%Y-%m-%dT%H:%M:%S}Z, and {worker} {did}"
    return json.dumps(reason)
