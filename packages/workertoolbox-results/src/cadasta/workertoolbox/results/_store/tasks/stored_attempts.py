"""What is stored of the attempts of tasks: their results and their messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    Column,
    Connection,
    RowMapping,
    Select,
    Table,
    bindparam,
    func,
    select,
)

from cadasta.workertoolbox.results._database.archived import are_on, find_last_ends
from cadasta.workertoolbox.results._database.snapshot import release_locks
from cadasta.workertoolbox.results._database.tables import attempt, history, taskmeta
from cadasta.workertoolbox.results._history.attempt_records import (
    MAX_ERROR_BYTES,
    read_instant,
)
from cadasta.workertoolbox.results._history.clocks import stated
from cadasta.workertoolbox.results._store.rows.reading import MAX_IDS_PER_QUERY, by_days


class StoredAttempts(NamedTuple):
    """What is stored of a task: its result, if it has one, and its messages.

    The `scheduled_at` of a message is the time that it states, which may be wrong.
    """

    result: RowMapping | None
    messages: Sequence[Mapping[str, Any]]


#: Columns of a message.
_MESSAGE = ("retries", "replaced", "queue", "scheduled_at", "seen_at")


def _select_result(table: Table, id: Column[str], at: Column[datetime]) -> Select[Any]:
    names = ("status", "retries", "queue", "worker", "published_at", "started_at")
    return select(
        id.label("id"),
        *(table.c[name] for name in (*names, "traceback", "attempts")),
        at.label("stored_at"),
        func.substr(table.c.result, 1, MAX_ERROR_BYTES).label("error"),
    )


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)

_RESULTS = _select_result(taskmeta, taskmeta.c.task_id, taskmeta.c.date_done).where(
    taskmeta.c.task_id.in_(_IDS), taskmeta.c.archived_at.is_(None)
)

_MESSAGES = (
    select(*(attempt.c[name] for name in ("task_id", *_MESSAGE)))
    .where(attempt.c.task_id.in_(_IDS))
    .order_by(attempt.c.task_id, attempt.c.replaced, attempt.c.retries)
)

_ARCHIVED = (
    _select_result(history, history.c.id, history.c.finished_at)
    .add_columns(
        *(history.c[name] for name in ("messages", "replaced")),
        *(history.c[name] for name in ("scheduled_at", "seen_at")),
    )
    .where(history.c.id.in_(_IDS))
    .order_by(history.c.day)
)


def read_stored(
    connection: Connection, ids: Sequence[str], ended_at: Mapping[str, datetime]
) -> Mapping[str, StoredAttempts]:
    """Return what is stored of tasks by their ids; of unknown ones nothing."""
    results: dict[str, RowMapping] = {}
    messages: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for start in range(0, len(ids), MAX_IDS_PER_QUERY):
        some = {"ids": ids[start : start + MAX_IDS_PER_QUERY]}
        rows = connection.execute(_RESULTS, some).mappings()
        results |= {row["id"]: row for row in rows}
        for message in connection.execute(_MESSAGES, some).mappings():
            messages[message["task_id"]].append({**message})
    found = {id: StoredAttempts(results.get(id), messages[id]) for id in ids}
    others = [id for id, each in found.items() if each == (None, [])]
    days = {id: ended_at[id].date() for id in others if id in ended_at}
    found |= _read_archived(connection, days)
    # The day of an end by a wrong clock is another one.
    missing = [id for id in others if found[id] == (None, [])]
    ends = find_last_ends(connection, missing)
    return {**found, **_read_archived(connection, {each.id: each.day for each in ends})}


def _read_archived(
    connection: Connection, days: Mapping[str, date]
) -> Mapping[str, StoredAttempts]:
    """Return what the history has of tasks.

    Args:
        days: The days on which they ended, by id.
    """
    found = {}
    for some in by_days(days, days):
        query = _ARCHIVED.where(are_on(days[id] for id in some))
        release_locks(connection)
        for row in connection.execute(query, {"ids": some}).mappings():
            found[row["id"]] = StoredAttempts(row, _archived_messages(row))
    return found


def _archived_messages(row: RowMapping) -> Sequence[Mapping[str, Any]]:
    if row["seen_at"] is None:
        return ()  # No monitor has seen a message.
    if row["messages"] is None:
        only = {name: row[name] for name in _MESSAGE}
        return [{**only, "scheduled_at": stated(row)}]
    records = sorted(
        row["messages"], key=lambda record: (record["replaced"], record["retries"])
    )
    return [
        {
            **{name: record[name] for name in ("retries", "replaced", "queue")},
            "scheduled_at": read_instant(record["scheduled_at"]),
            "seen_at": read_instant(record["seen_at"]),
        }
        for record in records
    ]
