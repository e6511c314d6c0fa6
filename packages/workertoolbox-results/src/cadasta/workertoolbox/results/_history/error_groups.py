"""Groups of errors: the errors of ended tasks by their fingerprints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from celery import states
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    bindparam,
    case,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.tables import error_group
from cadasta.workertoolbox.results._history.attempt_records import (
    ended_attempts,
    read_instant,
)
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._history.stored_error import StoredError, read_error

#: States that users give a group. The state that is shown also depends on the times of
#: its errors.
OPEN, RESOLVED, IGNORED = "open", "resolved", "ignored"


class Occurrence(NamedTuple):
    """One error of a task: its failure, or that of an attempt that was retried.

    Attributes:
        group: The key of its group, such as `1:9f86d081884c7d65`.
        task_id: Id of the task.
        name: Name of the task.
        at: When the attempt ended.
        error: The error as it is stored.
        is_retry: Whether the task was retried after it.
    """

    group: str
    task_id: str
    name: str | None
    at: datetime
    error: StoredError
    is_retry: bool = False


def occurrences(row: Mapping[str, Any]) -> Iterator[Occurrence]:
    """Yield the errors of an ended task, oldest first.

    Args:
        row: A row of `workertoolbox_history`. The same row always yields the same.
    """
    for attempt in ended_attempts(row):
        # Records of earlier releases have no group.
        group = attempt.get("error_group")
        if group is None:
            continue
        at = attempt["finished_at"] or attempt["started_at"]
        yield Occurrence(
            group,
            row["id"],
            row["name"],
            read_instant(at) or row["finished_at"],
            read_error((attempt["error"] or "").encode()),
            is_retry=attempt["outcome"] == states.RETRY,
        )


def record_errors(
    connection: Connection,
    errors: Iterable[Occurrence],
    sign: Literal[1, -1] = 1,
    *,
    faulty: FaultyRows | None = None,
) -> None:
    """Add errors to their groups, or subtract errors that were added before.

    The order in which errors arrive does not matter. Subtracting changes only the
    numbers: the first and the last error stay.

    Args:
        connection: In a transaction. Rows are written in the order of their keys.
        sign: 1 to add, -1 to subtract.
        faulty: Leaves out groups that cannot be changed.
    """
    groups = defaultdict(list)
    for each in errors:
        groups[each.group].append(each)
    rows = [_row(key, groups[key]) for key in sorted(groups)]

    def write(some: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        if sign == -1:
            connection.execute(_SUBTRACT, [_numbers(row) for row in some])
        else:
            connection.execute(_upsert(connection.dialect.name), some)
        return some

    (faulty or FaultyRows()).process(
        *(connection, rows, write), what="group of errors", key=itemgetter("id")
    )


def forget_samples(connection: Connection, task_ids: Sequence[str]) -> None:
    """Erase tasks from the groups of their errors: ids, and the text of the error.

    The groups, their numbers and their times stay.

    Args:
        connection: In a transaction.
        task_ids: At most some thousand ids.
    """
    named = [
        is_in(connection, column, task_ids)
        for column in (error_group.c.first_task_id, error_group.c.last_task_id)
    ]
    # Locks the rows in the order in which the archiver writes them.
    query = select(error_group.c.id).where(or_(*named)).order_by(error_group.c.id)
    if not connection.scalars(query.with_for_update()).all():
        return
    is_first, is_last = named
    changes = (
        (is_first, {"first_task_id": None}),
        (is_last, {"last_task_id": None, "sample": None}),
    )
    for condition, values in changes:
        connection.execute(update(error_group).where(condition).values(values))


def _row(key: str, errors: Sequence[Occurrence]) -> dict[str, Any]:
    first = min(errors, key=lambda each: each.at)
    last = max(errors, key=lambda each: each.at)
    version = key.partition(":")[0]
    return {
        "id": key,
        "version": int(version) if version.isdecimal() else 0,
        "type": last.error.type,
        "place": last.error.place,
        "name": first.name,
        "sample": last.error.text,
        "first_task_id": first.task_id,
        "last_task_id": last.task_id,
        "first_at": first.at,
        "last_at": last.at,
        "count": len(errors),
        "retries": sum(each.is_retry for each in errors),
        "state": OPEN,
    }


@cache
def _upsert(dialect: str) -> Insert:
    """Return the statement; psycopg2 sends it once for up to 1,000 rows."""
    insert = insert_into(error_group, dialect)
    old, new = error_group.c, insert.excluded
    is_earlier, is_later = new.first_at < old.first_at, new.last_at > old.last_at

    def changed(condition: ColumnElement[bool], *names: str) -> Mapping[str, Any]:
        return {name: case((condition, new[name]), else_=old[name]) for name in names}

    return insert.on_conflict_do_update(
        index_elements=[old.id],
        set_={
            **changed(is_earlier, "first_at", "first_task_id", "name"),
            **changed(is_later, "last_at", "last_task_id", "type", "place", "sample"),
            "count": old["count"] + new["count"],
            "retries": old.retries + new.retries,
        },
    )


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"key": row["id"], "errors": row["count"], "retried": row["retries"]}


def _subtracted(column: Column[Any], name: str) -> ColumnElement[Any]:
    left = column - bindparam(name)
    return case((left > 0, left), else_=0)


_SUBTRACT = (
    update(error_group)
    .where(error_group.c.id == bindparam("key"))
    .values(
        count=_subtracted(error_group.c["count"], "errors"),
        retries=_subtracted(error_group.c.retries, "retried"),
    )
)
