"""Reading tasks by their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    select,
)

from cadasta.workertoolbox.results._database.archived import (
    are_on,
    find_last_ends,
)
from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.snapshot import release_locks
from cadasta.workertoolbox.results._database.statuses import PLANNED
from cadasta.workertoolbox.results._database.tables import history, planned
from cadasta.workertoolbox.results._database.view import live
from cadasta.workertoolbox.results._history.conditions import has_message_or_result
from cadasta.workertoolbox.results._store.rows.dated_ids import DatedId, days_by_id
from cadasta.workertoolbox.results._store.rows.task_rows import (
    Detail,
    make_task,
    new_task,
    select_tasks,
)
from cadasta.workertoolbox.results._task import Task

#: Maximum number of tasks that one statement reads.
MAX_IDS_PER_QUERY = 1000

#: Maximum number of days of the history that one statement reads.
DAYS_PER_QUERY = 16


def read_tasks(
    connection: Connection,
    ids: Sequence[str],
    *,
    days: Mapping[str, date] | None = None,
    detail: Detail = Detail.WHOLE,
    are_live: bool = True,
) -> Sequence[Task]:
    """Return the tasks with these ids, in the order given; unknown ids are skipped.

    Args:
        days: The days of those that are in the history, by id. By default, all days
            are searched.
        are_live: Whether some may be live: have a message, or a result that is not
            archived.
    """
    found: dict[str, Task] = {}
    for start in range(0, len(ids), MAX_IDS_PER_QUERY):
        some = ids[start : start + MAX_IDS_PER_QUERY]
        tasks = _read(connection, some, days, detail, are_live)
        found |= {task.id: task for task in tasks}
    return [found[id] for id in ids if id in found]


def select_ended(
    connection: Connection, detail: Detail, at: ColumnElement[datetime]
) -> Select[Any]:
    """Return a query of the history for `fetch_ended`.

    Args:
        at: The column that tasks are sorted by.
    """
    query = select_tasks(history, detail, connection.dialect.name)
    return query.add_columns(at.label("at"), history.c.day)


def fetch_ended(
    connection: Connection, query: Select[Any], limit: int
) -> Sequence[DatedId]:
    """Return the first tasks of a query that `select_ended` begins, newest first.

    They are read at once, because PostgreSQL takes longer to plan a second query on
    their days than to read them.
    """
    rows = connection.execute(query.limit(limit))
    found = (DatedId(row.at, row.id, row.day, row) for row in rows)
    # Of two ends of the same id, the newest is first.
    return sorted(found, key=lambda each: (each.at, each.day), reverse=True)


def read_found(
    connection: Connection, found: Sequence[DatedId], detail: Detail
) -> Sequence[Task]:
    """Return the tasks that were found, in their order.

    Args:
        detail: The same as for the tasks that were read when they were found.
    """
    missing = [each for each in found if each.row is None]
    ids, days = [each.id for each in missing], days_by_id(missing)
    others = read_tasks(connection, ids, days=days, detail=detail)
    tasks = {task.id: task for task in others}
    for each in found:
        if each.row is not None:
            tasks[each.id] = make_task(connection, each.row, detail)
    return [tasks[each.id] for each in found if each.id in tasks]


def _read(
    connection: Connection,
    ids: Sequence[str],
    days: Mapping[str, date] | None,
    detail: Detail,
    are_live: bool,
) -> Iterator[Task]:
    """Yield tasks: live ones, archived ones that are not live, and planned ones."""
    missing = dict.fromkeys(ids)
    for task in _read_from(connection, live, missing if are_live else (), detail):
        del missing[task.id]
        yield task
    if days is None:
        days = {each.id: each.day for each in find_last_ends(connection, [*missing])}
    for some in by_days(missing, days):
        is_on = are_on(days[id] for id in some)
        release_locks(connection)
        for task in _read_from(connection, history, some, detail, is_on):
            missing.pop(task.id, None)
            yield task
    yield from _read_planned(connection, missing)


def by_days(ids: Iterable[str], days: Mapping[str, date]) -> Iterator[Sequence[str]]:
    """Yield the ids of tasks in the history, those of a few days together.

    PostgreSQL looks for each id of a query in each of its days.
    """
    archived = sorted((id for id in ids if id in days), key=lambda id: days[id])
    known = sorted({days[id] for id in archived})
    for start in range(0, len(known), DAYS_PER_QUERY):
        some = {*known[start : start + DAYS_PER_QUERY]}
        yield [id for id in archived if days[id] in some]


def _read_from(
    connection: Connection,
    table: Table,
    ids: Iterable[str],
    detail: Detail,
    *conditions: ColumnElement[bool],
) -> Sequence[Task]:
    wanted = [*ids]
    if not wanted:
        return []
    query = select_tasks(table, detail, connection.dialect.name)
    query = query.where(is_in(connection, table.c.id, wanted), *conditions)
    if table is history:
        # Of two ends of the same id, the newest is the last, and is returned.
        query = query.order_by(history.c.day)
    rows = connection.execute(query).all()
    return [make_task(connection, row, detail) for row in rows]


def _read_planned(connection: Connection, ids: Iterable[str]) -> Iterator[Task]:
    wanted = [*ids]
    if not wanted:
        return
    names = ("id", "name", "root_id", "parent_id", "group_id")
    query = select(*(planned.c[name] for name in names)).where(
        is_in(connection, planned.c.id, wanted), ~has_message_or_result(planned.c.id)
    )
    for row in connection.execute(query).mappings():
        parent_id = None if row["parent_id"] == row["id"] else row["parent_id"]
        known = {"parent_id": parent_id, "status": PLANNED, "tracked": True}
        yield new_task({**row, **known})
