"""Cleanup of expired results, groups and chords (`result_expires`) in small batches."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    delete,
    false,
    func,
    not_,
    or_,
    select,
    true,
)

from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.statuses import ENDED, PSEUDO_TASKS
from cadasta.workertoolbox.results._database.tables import (
    chord,
    chord_part,
    taskmeta,
    tasksetmeta,
)
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._history.conditions import has_message

#: Maximum number of rows that one transaction deletes, so that other writers wait only
#: briefly.
BATCH_SIZE = 1000

_result = taskmeta.c

_IS_UNARCHIVED_TASK = and_(
    _result.archived_at.is_(None),
    _result.task_id.is_not(None),
    func.coalesce(_result.name, "").not_in(PSEUDO_TASKS),
)

#: The ends of tasks, which a trigger keeps until they are archived.
_IS_UNARCHIVED_END = and_(_IS_UNARCHIVED_TASK, _result.status.in_(ENDED))

#: The state of a live task that has not ended stays too. Without its start, a task that
#: runs for longer than results are kept would be shown as waiting, and never as lost.
#: Without `RETRY`, the attempt before a late retry would be missing from the history.
#: The state of a task without a message may be the last that is ever stored.
_IS_KEPT = or_(
    _IS_UNARCHIVED_END, and_(_IS_UNARCHIVED_TASK, has_message(_result.task_id))
)


def delete_results(database: Database, before: datetime) -> int:
    """Delete a batch of results stored before an instant, and return its size.

    The ends of tasks that are not archived yet stay, and the states of live tasks that
    a monitor knows.
    """
    return _delete_oldest(
        database, taskmeta, before, not_(func.coalesce(_IS_KEPT, false()))
    )


def has_kept_results(database: Database, before: datetime) -> bool:
    """Return whether ends from before an instant are still not archived."""
    old = _result.date_done < naive_utc(before)
    query = select(_result.id).where(_IS_UNARCHIVED_END, old).limit(1)
    with database.connect() as connection:
        return connection.execute(query).first() is not None


def delete_groups(database: Database, before: datetime) -> int:
    """Delete a batch of groups saved before an instant, and return its size."""
    return _delete_oldest(database, tasksetmeta, before, true())


def delete_chords(database: Database, before: datetime) -> int:
    """Delete a batch of chords last changed before an instant, and return its size."""
    with database.connect() as connection:
        old = select(chord.c.id).where(chord.c.touched_at < before).limit(BATCH_SIZE)
        ids = connection.scalars(old).all()
        connection.execute(delete(chord_part).where(chord_part.c.chord_id.in_(ids)))
        connection.execute(delete(chord).where(chord.c.id.in_(ids)))
    return len(ids)


def _delete_oldest(
    database: Database, table: Table, before: datetime, deletable: ColumnElement[bool]
) -> int:
    is_old = table.c.date_done < naive_utc(before)
    oldest = select(table.c.id).where(is_old, deletable)
    oldest = oldest.order_by(table.c.date_done).limit(BATCH_SIZE)
    # Rows that a purge or a worker has locked are skipped. The query is a CTE, because
    # PostgreSQL may execute a subquery more than once, which would lock more rows.
    batch = oldest.with_for_update(skip_locked=True).cte("batch")
    statement = delete(table).where(table.c.id.in_(select(batch.c.id)))
    with database.connect() as connection:
        # The SQLite driver has no row count for a statement with a CTE.
        return len(connection.execute(statement.returning(table.c.id)).all())
