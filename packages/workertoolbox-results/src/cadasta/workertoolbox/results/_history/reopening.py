"""Taking tasks out of the history again, so that what is new can be added to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, select, update

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    history,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history.attempt_records import (
    ended_attempts,
    merge_attempts,
)

#: How much later than a worker's clock that of a publisher may be.
CLOCK_SKEW = timedelta(days=1)


def reopen(connection: Connection, ids: Sequence[str]) -> Mapping[str, int]:
    """Take the tasks that are in history out of it, and back to the live tables.

    Args:
        connection: In a transaction that holds the results of these tasks.

    Returns:
        By id, the size in bytes of results of which only the beginning was kept.
    """
    known = _find_archived(connection, ids)
    if not known:
        return {}
    results = _results(connection, [row["id"] for row in known])
    for row in known:
        result = results[row["id"]]
        attempts = merge_attempts(
            ended_attempts(row),
            result["attempts"] or (),
            last_started_at=result["started_at"],
        )
        if attempts is not None:
            same = taskmeta.c.task_id == row["id"]
            connection.execute(update(taskmeta).where(same).values(attempts=attempts))
        connection.execute(
            delete(history).where(
                history.c.id == row["id"],
                history.c.keep == row["keep"],
                history.c.day == row["day"],
            )
        )
    _restore_messages(connection, [row for row in known if row["tracked"]])
    return {
        row["id"]: row["result_bytes"]
        for row in known
        if row["result_bytes"] is not None
        and results[row["id"]]["result"] == row["result"]
    }


def _find_archived(connection: Connection, ids: Sequence[str]) -> Sequence[RowMapping]:
    """Return the rows of the history; each task has one at most.

    A run ends after its message was published, so that only the days since then are
    searched. The message of some tasks is not known.
    """
    published = select(
        taskmeta.c.task_id,
        taskmeta.c.published_at,
        select(task.c.scheduled_at)
        .where(task.c.id == taskmeta.c.task_id)
        .scalar_subquery(),
    ).where(taskmeta.c.task_id.in_(ids))
    dated: dict[str, datetime] = {}
    undated: list[str] = []
    for id, *instants in connection.execute(published):
        known = [each for each in instants if each is not None]
        if known:
            dated[id] = min(known)
        else:
            undated.append(id)
    found = list(_select(connection, undated))
    if dated:
        since = (min(dated.values()) - CLOCK_SKEW).date()
        found += _select(connection, [*dated], since)
    return found


def _select(
    connection: Connection, ids: Sequence[str], since: date | None = None
) -> Iterable[RowMapping]:
    if not ids:
        return ()
    query = select(history).where(history.c.id.in_(ids))
    if since is not None:
        query = query.where(history.c.day >= since)
    return connection.execute(query).mappings().all()


def _results(connection: Connection, ids: Sequence[str]) -> Mapping[str, RowMapping]:
    columns = (taskmeta.c[name] for name in ("attempts", "started_at", "result"))
    query = select(taskmeta.c.task_id, *columns).where(taskmeta.c.task_id.in_(ids))
    rows = connection.execute(query).mappings()
    return {row["task_id"]: row for row in rows}


def _restore_messages(connection: Connection, rows: Sequence[RowMapping]) -> None:
    """Store the messages of tasks again; a message that arrived since stays."""
    if not rows:
        return
    dialect = connection.dialect.name
    names = [column.name for column in task.c]
    messages = [{name: row[name] for name in names} for row in rows]
    insert_task = insert_into(task, dialect).on_conflict_do_nothing()
    connection.execute(insert_task, messages)
    insert_attempt = insert_into(attempt, dialect).on_conflict_do_nothing()
    connection.execute(
        insert_attempt, [record for row in rows for record in _messages(row)]
    )


def _messages(row: RowMapping) -> Iterable[dict[str, Any]]:
    if row["messages"] is None:
        names = ("replaced", "retries", "name", "queue", "scheduled_at", "eta")
        only = {name: row[name] for name in (*names, "seen_at")}
        yield {"task_id": row["id"], **only}
        return
    instants = ("scheduled_at", "eta", "seen_at")
    for record in row["messages"]:
        read = {name: _read_instant(record[name]) for name in instants}
        yield {"task_id": row["id"], **record, **read}


def _read_instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
