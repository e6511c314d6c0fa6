"""Reading the tasks of a workflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import Literal

from sqlalchemy import ColumnElement, Connection, and_, bindparam, true

from cadasta.workertoolbox.results._database.archived import (
    Archived,
    are_on,
    find_archived,
    find_days_since,
)
from cadasta.workertoolbox.results._database.snapshot import release_locks
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history.clocks import MAX_SKEW, date_before
from cadasta.workertoolbox.results._store.rows.reading import DAYS_PER_QUERY, read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import (
    Detail,
    make_ended,
    make_task,
    select_tasks,
)
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._workflows.members import find_workflow


def read_workflow_tasks(
    connection: Connection, root_id: str, root: Task | None, detail: Detail
) -> Sequence[Task]:
    """Return the tasks of a workflow.

    A task that is in the history is read from there, unless a live one with the same
    id belongs to the workflow too.

    Args:
        root_id: Id of the task that began it, or of one of its groups.
        root: The task with this id, if there is one.
    """
    since = None if root is None else _first_day(root, datetime.now(UTC))
    known = [] if root is None else [root]
    ended: list[Task] = []

    def search(roots: Sequence[str], groups: Sequence[str]) -> Sequence[Archived]:
        columns = history.c
        if since is not None and [*roots] == [root_id]:
            # The root is known.
            wanted = and_(columns.root_id == root_id, columns.root_id != columns.id)
            windows = _windows(connection, "member", roots, since)
        elif since is not None and not roots:
            is_other = columns.root_id.is_distinct_from(root_id)
            wanted = and_(columns.group_id.in_(groups), is_other)
            windows = _windows(connection, "group", groups, since)
        else:
            return find_archived(connection, roots=roots, groups=groups)
        read = [*_read_within(connection, wanted, windows, detail)]
        ended.extend(read)
        relatives = {(task.root_id, task.group_id): task.id for task in (*known, *read)}
        return [Archived(id, *of, since) for of, id in relatives.items()]

    found = find_workflow(connection, root_id, search=search, since=since)
    live, days = sorted(found.live_ids), found.days
    read_ids = {root_id, *(task.id for task in ended)}
    unread = found.task_ids - found.live_ids - read_ids
    others = [
        *known,
        *read_tasks(
            connection, sorted(unread), days=days, detail=detail, are_live=False
        ),
        *read_tasks(connection, live, days=days, detail=detail),
    ]
    belonging = (
        task
        for task in others
        if task.root_id in found.root_ids or task.group_id in found.group_ids
    )
    return [*{task.id: task for task in (*ended, *belonging)}.values()]


def _first_day(root: Task, now: datetime) -> date | None:
    """Return a day before which no task of a workflow ended, if one is known."""
    if root.scheduled_at is None:
        return None
    # The clock of the publisher may be wrong. Then those of the workers count.
    times = (root.scheduled_at, root.started_at, root.finished_at, now)
    first = min(each for each in times if each is not None)
    return date_before(first, MAX_SKEW + timedelta(days=1))


def _read_within(
    connection: Connection,
    wanted: ColumnElement[bool],
    windows: Iterable[ColumnElement[bool]],
    detail: Detail,
) -> Iterator[Task]:
    """Yield tasks in the history that ended within windows of days.

    Of two ends of the same id, the newest is the last.
    """
    query = select_tasks(history, detail, connection.dialect.name)
    query = query.add_columns(history.c.day).where(wanted)
    for is_within in windows:
        release_locks(connection)
        result = connection.execute(query.where(is_within))
        if detail is Detail.OUTLINE and connection.dialect.name == "postgresql":
            # SQLAlchemy's rows would take as long as the query.
            rows = result.cursor.fetchall()
            yield from make_ended(sorted(rows, key=itemgetter(-1)))
            continue
        for row in sorted(result.all(), key=itemgetter(-1)):
            yield make_task(connection, row, detail)


def _windows(
    connection: Connection,
    kind: Literal["member", "group"],
    keys: Sequence[str],
    since: date,
) -> Iterator[ColumnElement[bool]]:
    """Yield conditions for the days since one that may have tasks, a few days each.

    PostgreSQL plans a query for each of the days. If they are many, those that have
    tasks are found first, by statements whose plans are kept. SQLite has one table for
    all days.

    Args:
        kind: As for `find_days_since`.
    """
    day = history.c.day
    if connection.dialect.name != "postgresql":
        yield true()
    elif since + timedelta(days=DAYS_PER_QUERY) > datetime.now(UTC).date():
        # Also the days that wrong clocks are ahead.
        yield day >= bindparam("since", since, day.type, literal_execute=True)
    else:
        days = find_days_since(connection, kind, keys, since)
        for start in range(0, len(days), DAYS_PER_QUERY):
            yield are_on(days[start : start + DAYS_PER_QUERY])
