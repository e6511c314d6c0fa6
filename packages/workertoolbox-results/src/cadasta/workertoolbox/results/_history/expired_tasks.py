"""Tasks that expired before a worker started them.

A worker that receives such a task revokes it. But RabbitMQ drops expired messages, and
a queue may have no worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from celery import states
from sqlalchemy import Connection, Row, and_, or_, select, update

from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.tables import task, taskmeta
from cadasta.workertoolbox.results._history.attempt_records import (
    MAX_ATTEMPTS,
    ended_attempts,
)
from cadasta.workertoolbox.results._history.closed_tasks import (
    TASK_COLUMNS,
    encode_revocation,
    end_of,
    store_ends,
)
from cadasta.workertoolbox.results._history.earlier_ends import may_wait
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.outcomes import is_outcome_expected
from cadasta.workertoolbox.results._history.unrun_steps import close_steps
from cadasta.workertoolbox.results._history.walks import next_step

#: Maximum number of expired tasks that one run looks at: the newest ones, and as many
#: others.
STEP_SIZE = 5000

#: The columns of a result that the record of a retried attempt needs.
_ATTEMPT = (
    *("task_id", "status", "result", "traceback", "retries", "queue", "worker"),
    *("error_group", "published_at", "started_at", "attempts", "date_done"),
)


def close_expired(
    connection: Connection, now: datetime, options: ArchiveOptions
) -> None:
    """Revoke tasks that expired before they ran, and close the steps after them.

    A worker that starts a task just before its expiry stores the start a little later,
    and its clock may be slow. So tasks are closed some time after their expiry.
    """
    before = now - timedelta(seconds=options.expired_after_s)

    def close(ids: Sequence[str]) -> set[str]:
        ends = {row.id: _end(row, now) for row in _lock_unrun(connection, ids, now)}
        stored = store_ends(connection, ends.values(), options.faulty)
        retried = [id for id in ends if id not in stored]
        stored |= {id for id in retried if _replace_retry(connection, ends[id])}
        close_steps(connection, sorted(stored), now, options.faulty)
        return stored

    ids = _find_expired(connection, options, before)
    options.faulty.process(connection, ids, close, what="expired task")


def _find_expired(
    connection: Connection, options: ArchiveOptions, before: datetime
) -> Sequence[str]:
    """Return ids of tasks that expired before an instant.

    Tasks that have ended may be among them, and many of them if the archiver is behind.
    Therefore the newest ones are looked at each time, and the others in turn.
    """
    id, expires = task.c.id, task.c.expires
    newest = select(id).where(expires < before).order_by(expires.desc())
    order = [expires, id]
    step = next_step(connection, options, order, expires < before, size=STEP_SIZE)
    return sorted(
        {*connection.scalars(newest.limit(STEP_SIZE)), *(id for _, id in step)}
    )


def _lock_unrun(
    connection: Connection, ids: Sequence[str], now: datetime
) -> Iterable[Row[Any]]:
    """Lock those of the tasks that have no start."""
    columns = [task.c[name] for name in (*TASK_COLUMNS, "published_at", "expires")]
    waits = and_(may_wait(connection), is_outcome_expected(now))
    is_again = and_(
        taskmeta.c.status == states.RETRY, taskmeta.c.retries < task.c.retries
    )
    query = (
        select(*columns)
        .join_from(task, taskmeta, taskmeta.c.task_id == task.c.id, isouter=True)
        .where(is_in(connection, task.c.id, ids))
        .where(or_(and_(taskmeta.c.task_id.is_(None), waits), is_again))
        .order_by(task.c.id)
        .with_for_update(skip_locked=True, of=task)
    )
    return connection.execute(query).all()


def _end(row: Row[Any], now: datetime) -> dict[str, Any]:
    expired_at = row.expires.isoformat(timespec="seconds")
    reason = f"expired at {expired_at} before a worker started it"
    return end_of(
        row,
        states.REVOKED,
        ended_at=now,
        published_at=row.published_at,
        result=encode_revocation(reason),
    )


def _replace_retry(connection: Connection, end: dict[str, Any]) -> bool:
    """Store the end of a retried task, and keep its earlier attempt."""
    same = taskmeta.c.task_id == end["task_id"]
    is_earlier = and_(
        taskmeta.c.status == states.RETRY, taskmeta.c.retries < end["retries"]
    )
    query = select(*(taskmeta.c[name] for name in _ATTEMPT)).where(same, is_earlier)
    row = connection.execute(query.with_for_update()).mappings().first()
    if row is None:
        return False
    attempts = ended_attempts({**row, "finished_at": row["date_done"]})
    names = ("status", "result", "date_done", "retries", "published_at")
    changes = {name: end[name] for name in names}
    # No worker has started or closed this attempt.
    emptied = ("traceback", "error_group", "started_at", "waited_s", "worker")
    changes |= dict.fromkeys(emptied)
    changes["attempts"] = attempts[-MAX_ATTEMPTS:]
    connection.execute(update(taskmeta).where(same).values(changes))
    return True
