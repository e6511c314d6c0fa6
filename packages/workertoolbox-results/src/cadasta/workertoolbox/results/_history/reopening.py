"""Moves tasks out of the history again, so that later messages can be merged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from typing import Any

from celery import states
from sqlalchemy import (
    Connection,
    RowMapping,
    and_,
    case,
    delete,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert

from cadasta.workertoolbox.results._database.archived import (
    Archived,
    are_on,
    find_archived,
    find_ends_since,
)
from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    history,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._history.attempt_records import (
    ended_attempts,
    merge_attempts,
    read_instant,
)
from cadasta.workertoolbox.results._history.clocks import MAX_LEAD, MAX_SKEW, stated
from cadasta.workertoolbox.results._history.contributions import (
    contribution_columns,
    contributions_of,
)
from cadasta.workertoolbox.results._history.ended_tasks import EndedTask
from cadasta.workertoolbox.results._history.error_groups import (
    occurrences,
    record_errors,
)
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._history.rollup import add_contributions

#: Size of a batch up to which all days are searched for each id. That takes about 100
#: microseconds with 90 days.
MAX_UNBOUNDED = 100

_UUID = re.compile(
    "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)


#: The columns of a message that the history keeps.
_MESSAGE_COLUMNS = [column.name for column in task.c if column.name in history.c]

_RESULT_COLUMNS = ("attempts", "started_at", "date_done")


def reopen(
    connection: Connection, found: Sequence[EndedTask], faulty: FaultyRows
) -> frozenset[str]:
    """Move those of the tasks that are in the history back to the live tables.

    Args:
        connection: In a transaction that holds the results of these tasks.
        faulty: Leaves out groups of errors that cannot be changed.

    Returns:
        The ids of these tasks.
    """
    known = _find_archived(connection, found)
    if not known:
        return frozenset()
    _keep_attempts(connection, known)
    _delete_from_history(connection, known)
    errors = (error for row in known for error in occurrences({**row}))
    record_errors(connection, errors, sign=-1, faulty=faulty)
    # Steps that were never published count as tracked.
    published = [row for row in known if row["scheduled_at"] is not None]
    _restore_messages(connection, published)
    return frozenset(row["id"] for row in known)


def _keep_attempts(connection: Connection, rows: Sequence[RowMapping]) -> None:
    """Store the runs of rows of the history among the attempts of their results.

    Args:
        rows: The newest first. A task has several if an earlier end was not found when
            the next one was archived.
    """
    results = _results(connection, [row["id"] for row in rows])
    attempts: dict[str, Sequence[Mapping[str, Any]]] = {}
    for row in rows:
        result = results[row["id"]]
        merged = merge_attempts(
            ended_attempts({**row}) if _was_run(row) else row["attempts"] or (),
            attempts.get(row["id"], result["attempts"] or ()),
            last_run_at=result["started_at"] or _aware(result["date_done"]),
        )
        if merged is not None:
            attempts[row["id"]] = merged
    for id, records in attempts.items():
        same = taskmeta.c.task_id == id
        connection.execute(update(taskmeta).where(same).values(attempts=records))


def queue_again(connection: Connection, ids: Sequence[str], now: datetime) -> None:
    """Leave only the message of the next run; the history has the end of the last one.

    The times of the message were those of the last run until now; see `task_upsert.py`.
    """
    if not ids:
        return
    of_results = is_in(connection, taskmeta.c.task_id, ids)
    connection.execute(delete(taskmeta).where(of_results))
    latest = literal(now + MAX_LEAD, task.c.published_at.type)
    is_ahead = task.c.published_at > latest
    published_at = case((is_ahead, latest), else_=task.c.published_at)
    seen_at = task.c.seen_at
    is_seen_later = published_at < seen_at
    connection.execute(
        update(task)
        .where(is_in(connection, task.c.id, ids))
        .values(
            scheduled_at=published_at,
            seen_at=case((is_seen_later, seen_at), else_=published_at),
        )
    )


def _delete_from_history(connection: Connection, rows: Sequence[RowMapping]) -> None:
    """Delete rows of the history, and subtract what they added to the rollups."""
    columns = contribution_columns(connection.dialect.name)
    deletion = (
        delete(history)
        .where(is_in(connection, history.c.id, [row["id"] for row in rows]))
        .where(are_on(row["day"] for row in rows))
        .returning(*columns)
    )
    deleted = connection.execute(deletion).all()
    add_contributions(connection, contributions_of(deleted), sign=-1)


def _was_run(row: RowMapping) -> bool:
    """Return whether the task of a row has run."""
    is_revoked = row["status"] == states.REVOKED
    is_unknown = row["started_at"] is None and row["worker"] is None
    return row["not_run"] is None and not (is_revoked and is_unknown)


def _find_archived(
    connection: Connection, found: Sequence[EndedTask]
) -> Sequence[RowMapping]:
    """Return the rows of the history that have the ids of ended tasks.

    Celery never uses an id twice, so an earlier end of a task is later than its
    publication. Programs may publish their own ids again: for these, and in small
    batches, all days are searched.
    """
    unbounded = [
        each.id for each in found if each.since is None or not _is_own(each.id)
    ]
    bounded = {each.id: each.since for each in found if each.since is not None}
    if len(found) <= MAX_UNBOUNDED:
        unbounded = [each.id for each in found]
    for id in unbounded:
        bounded.pop(id, None)
    ends = [*find_archived(connection, ids=unbounded)]
    if bounded:
        since = (min(bounded.values()) - MAX_SKEW).date()
        ends += find_ends_since(connection, [*bounded], since)
    return _select(connection, ends)


def _is_own(id: str) -> bool:
    """Return whether Celery made an id, as a UUID."""
    return _UUID.fullmatch(id) is not None


def _select(connection: Connection, ends: Sequence[Archived]) -> Sequence[RowMapping]:
    if not ends:
        return ()
    is_wanted = is_in(connection, history.c.id, [each.id for each in ends])
    query = select(history).where(is_wanted, are_on(each.day for each in ends))
    newest_first = query.order_by(history.c.finished_at.desc())
    return connection.execute(newest_first).mappings().all()


def _results(connection: Connection, ids: Sequence[str]) -> Mapping[str, RowMapping]:
    columns = (taskmeta.c[name] for name in _RESULT_COLUMNS)
    query = select(taskmeta.c.task_id, *columns).where(
        is_in(connection, taskmeta.c.task_id, ids)
    )
    rows = connection.execute(query).mappings()
    return {row["task_id"]: row for row in rows}


def _restore_messages(connection: Connection, rows: Sequence[RowMapping]) -> None:
    """Store the messages of tasks again, and keep messages that have arrived since.

    Args:
        rows: The newest first, so that its message stays.
    """
    if not rows:
        return
    dialect = connection.dialect.name
    messages = [[*_messages(row)] for row in rows]
    last = [_last_message(*each) for each in zip(rows, messages, strict=True)]
    connection.execute(_merge_message(dialect), last)
    insert_attempt = insert_into(attempt, dialect).on_conflict_do_nothing()
    connection.execute(insert_attempt, [*chain.from_iterable(messages)])


@cache
def _merge_message(dialect: str) -> Insert:
    """Return the statement that keeps the later of two messages of a task.

    The times of publication and receipt are those of the earlier message.
    """
    insert = insert_into(task, dialect)
    old, new = task.c, insert.excluded
    is_later = or_(
        new.replaced > old.replaced,
        and_(new.replaced == old.replaced, new.retries > old.retries),
    )
    changes = {
        name: case((is_later, new[name]), else_=old[name]) for name in _MESSAGE_COLUMNS
    }
    for name in ("scheduled_at", "seen_at"):
        changes[name] = case((new[name] < old[name], new[name]), else_=old[name])
    return insert.on_conflict_do_update(index_elements=[old.id], set_=changes)


def _last_message(
    row: RowMapping, messages: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the row of the last message of a task.

    The history has the values of the run, which may belong to another message.
    """
    last = max(messages, key=lambda each: (each["replaced"], each["retries"]))
    kept = {name: row[name] for name in _MESSAGE_COLUMNS}
    if last["retries"] == row["retries"]:
        return kept
    names = ("replaced", "retries", "name", "queue", "eta")
    return {**kept, **{name: last[name] for name in names}, "published_at": None}


def _messages(row: RowMapping) -> Iterable[dict[str, Any]]:
    if row["messages"] is None:
        names = ("replaced", "retries", "name", "queue", "eta", "seen_at")
        only = {name: row[name] for name in names}
        yield {"task_id": row["id"], **only, "scheduled_at": stated(row)}
        return
    instants = ("scheduled_at", "eta", "seen_at")
    for record in row["messages"]:
        read = {name: read_instant(record[name]) for name in instants}
        yield {"task_id": row["id"], **record, **read}


def _aware(instant: datetime | None) -> datetime | None:
    return instant and instant.replace(tzinfo=UTC)
