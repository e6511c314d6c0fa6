"""Tasks that are deleted: old ones, or all of one workflow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, Select, delete, or_, select

from cadasta.workertoolbox.results._engine import reaching
from cadasta.workertoolbox.results._tables import (
    attempt,
    chord,
    chord_part,
    planned,
    queued,
    task,
    taskmeta,
    tasks,
    tasksetmeta,
    untracked,
)
from cadasta.workertoolbox.results._types import naive_utc

#: Tasks that are deleted in one transaction: a monitor waits for no more.
TASKS = 1000


def purge(
    engine: Engine,
    *,
    before: datetime,
    status: str | None = None,
    name: str | None = None,
    dry_run: bool = False,
) -> int:
    """Delete tasks that were scheduled, or if no monitor saw them stored, before.

    A task whose ETA is still ahead stays.

    Returns:
        How many were deleted, or would have been.

    Raises:
        DatabaseUnavailable: It cannot be reached or refuses.
    """
    count = 0
    for query in _old(before, status=status, name=name):
        with reaching(engine):
            for ids in _batches(engine, query):
                count += len(ids)
                if not dry_run:
                    with engine.begin() as connection:
                        _delete(connection, ids)
    return count


def erase(engine: Engine, *, task_id: str = "", root_id: str = "") -> int:
    """Delete one task, or the whole workflow of one, wherever it is.

    Returns:
        How many tasks were deleted.

    Raises:
        DatabaseUnavailable: It cannot be reached or refuses.
    """
    wanted = tasks.c.root_id == root_id if root_id else tasks.c.id == task_id
    query = select(tasks.c.id, tasks.c.group_id).where(wanted)
    with reaching(engine), engine.begin() as connection:
        rows = connection.execute(query).all()
        ids, groups = [row.id for row in rows], {row.group_id for row in rows}
        for start in range(0, len(ids), TASKS):
            _delete(connection, ids[start : start + TASKS])
        if root_id:
            _delete_groups(connection, sorted(groups - {None}))
    return len(ids)


def _old(
    before: datetime, *, status: str | None, name: str | None
) -> Iterator[Select[tuple[str]]]:
    """Yield what finds tasks of monitors, results without one, and planned steps.

    By an index each, and not by the view, which would be read as a whole.
    """
    due = or_(task.c.eta.is_(None), task.c.eta < datetime.now(UTC))
    tracked = select(task.c.id).where(task.c.scheduled_at < before, due)
    untracked = select(taskmeta.c.task_id).where(
        taskmeta.c.date_done < naive_utc(before),
        ~select(task.c.id).where(task.c.id == taskmeta.c.task_id).exists(),
    )
    if name is not None:
        tracked = tracked.where(task.c.name == name)
        untracked = untracked.where(taskmeta.c.name == name)
    if status is not None:
        of_view = select(tasks.c.id).where(tasks.c.status == status)
        tracked = tracked.where(of_view.where(tasks.c.id == task.c.id).exists())
        untracked = untracked.where(taskmeta.c.status == status)
    steps = select(planned.c.id).where(
        planned.c.seen_at < before,
        select(tasks.c.id)
        .where(tasks.c.id == planned.c.id, tasks.c.status == "PLANNED")
        .exists(),
    )
    if name is not None:
        steps = steps.where(planned.c.name == name)
    yield tracked.order_by(task.c.id)
    yield untracked.order_by(taskmeta.c.task_id)
    if status in (None, "PLANNED"):
        yield steps.order_by(planned.c.id)


def _batches(engine: Engine, query: Select[tuple[str]]) -> Iterator[Sequence[str]]:
    """Yield ids, going on after the last: those before may be gone, or still there."""
    [column] = query.selected_columns
    after = query
    while True:
        with engine.connect() as connection:
            ids = [str(row[0]) for row in connection.execute(after.limit(TASKS))]
        if not ids:
            return
        yield ids
        after = query.where(column > ids[-1])


def _delete(connection: Connection, ids: Sequence[str]) -> None:
    connection.execute(delete(attempt).where(attempt.c.task_id.in_(ids)))
    connection.execute(delete(planned).where(planned.c.id.in_(ids)))
    connection.execute(delete(queued).where(queued.c.task_id.in_(ids)))
    connection.execute(delete(untracked).where(untracked.c.task_id.in_(ids)))
    connection.execute(delete(taskmeta).where(taskmeta.c.task_id.in_(ids)))
    connection.execute(delete(task).where(task.c.id.in_(ids)))


def _delete_groups(connection: Connection, ids: Sequence[str]) -> None:
    for start in range(0, len(ids), TASKS):
        some = ids[start : start + TASKS]
        for column in (tasksetmeta.c.taskset_id, chord.c.id, chord_part.c.chord_id):
            connection.execute(delete(column.table).where(column.in_(some)))
