"""The attempts of a task: its messages, and the runs that workers have stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import zip_longest
from typing import Any, NamedTuple

from celery.states import EXCEPTION_STATES, RETRY
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

from cadasta.workertoolbox.results._arguments.cut_json import decode_prefix
from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._database.archived import are_on, find_last_ends
from cadasta.workertoolbox.results._database.snapshot import release_locks
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import attempt, history, taskmeta
from cadasta.workertoolbox.results._database.types import NEVER
from cadasta.workertoolbox.results._history.attempt_records import (
    MAX_ERROR_BYTES,
    REPLACED,
    read_instant,
)
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.rows.reading import MAX_IDS_PER_QUERY, by_days
from cadasta.workertoolbox.results._task import failure_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(JsonRecord):
    """One attempt of a task: a message and its run, or a further run of a message.

    Attributes:
        retries: How many times the task had been retried before.
        queue: The work queue of the message.
        scheduled_at: When the message was published, if this is known.
        started_at: When the run began; None if it has not begun.
        finished_at: When the run ended; None if it has not, or if it was lost.
        worker: The worker that ran it, such as `celery@host`.
        outcome: How the run ended: a final status; `RETRY`; `REPLACED` if it published
            its task again, as `Task.replace` does; `LOST` if nothing was heard of it
            when the same message was run again; `DUPLICATE` if the task had succeeded
            before; None if it waits or is running.
        error: The exception of a failure or a retry, such as `ValueError: no such map`.
        traceback: Its traceback as text, or the last 8,192 characters of it.
    """

    retries: int | None
    queue: str | None
    scheduled_at: datetime | None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    worker: str | None = None
    outcome: str | None = None
    error: str | None = None
    traceback: str | None = None


class _Stored(NamedTuple):
    """What is stored of a task: its result, if it has one, and its messages."""

    result: RowMapping | None
    messages: Sequence[Mapping[str, Any]]


def find_attempts(
    connection: Connection,
    ids: Sequence[str],
    ended_at: Mapping[str, datetime] | None = None,
) -> Mapping[str, Sequence[Attempt]]:
    """Return the attempts of tasks by id, each in their order.

    That is the order of publication, then of start.

    Args:
        ended_at: When tasks ended, by id. The history is searched for these on the days
            of their ends first.
    """
    stored = _read(connection, ids, ended_at or {})
    return {id: _attempts(each) for id, each in stored.items()}


def find_retries(connection: Connection, id: str) -> Sequence[int]:
    """Return the retry number of each message of a task, in their order."""
    return [each["retries"] for each in _read(connection, [id], {})[id].messages]


def _attempts(stored: _Stored) -> Sequence[Attempt]:
    # A run that was taken for lost may have ended later, as a duplicate.
    runs = (
        {}
        if stored.result is None
        else {
            (run.retries, run.worker, run.started_at): run
            for run in _runs(stored.result)
        }
    )
    published = [*_published(stored.messages)]
    found, seen = [], set()
    for run in runs.values():
        number = _message_of(run, published)
        if number is None:
            found.append(run)
            continue
        seen.add(number)
        message = published[number]
        # A result of Celery's own backend says little about its run.
        found.append(
            replace(
                run,
                retries=message.retries if run.retries is None else run.retries,
                queue=run.queue or message.queue,
                scheduled_at=message.scheduled_at,
                outcome=run.outcome or message.outcome,
            )
        )
    waiting = [each for n, each in enumerate(published) if n not in seen]
    return sorted([*found, *waiting], key=_order)


#: Columns of a message that describe its attempt.
_MESSAGE = ("retries", "queue", "scheduled_at")


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
    select(*(attempt.c[name] for name in ("task_id", *_MESSAGE, "replaced")))
    .where(attempt.c.task_id.in_(_IDS))
    .order_by(attempt.c.task_id, attempt.c.replaced, attempt.c.retries)
)

_ARCHIVED = (
    _select_result(history, history.c.id, history.c.finished_at)
    .add_columns(history.c.messages, history.c.scheduled_at, history.c.seen_at)
    .where(history.c.id.in_(_IDS))
    .order_by(history.c.day)
)


def _read(
    connection: Connection, ids: Sequence[str], ended_at: Mapping[str, datetime]
) -> Mapping[str, _Stored]:
    """Return what is stored of tasks by their ids; of unknown ones nothing."""
    results: dict[str, RowMapping] = {}
    messages: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for start in range(0, len(ids), MAX_IDS_PER_QUERY):
        some = {"ids": ids[start : start + MAX_IDS_PER_QUERY]}
        rows = connection.execute(_RESULTS, some).mappings()
        results |= {row["id"]: row for row in rows}
        for message in connection.execute(_MESSAGES, some).mappings():
            messages[message["task_id"]].append({**message})
    found = {id: _Stored(results.get(id), messages[id]) for id in ids}
    others = [id for id, each in found.items() if each == (None, [])]
    days = {id: ended_at[id].date() for id in others if id in ended_at}
    found |= _read_archived(connection, days)
    # The day of an end by a wrong clock is another one.
    missing = [id for id in others if found[id] == (None, [])]
    ends = find_last_ends(connection, missing)
    return {**found, **_read_archived(connection, {each.id: each.day for each in ends})}


def _read_archived(
    connection: Connection, days: Mapping[str, date]
) -> Mapping[str, _Stored]:
    """Return what the history has of tasks.

    Args:
        days: The days on which they ended, by id.
    """
    found = {}
    for some in by_days(days, days):
        query = _ARCHIVED.where(are_on(days[id] for id in some))
        release_locks(connection)
        for row in connection.execute(query, {"ids": some}).mappings():
            found[row["id"]] = _Stored(row, _archived_messages(row))
    return found


def _archived_messages(row: RowMapping) -> Sequence[Mapping[str, Any]]:
    if row["seen_at"] is None:
        return ()  # No monitor has seen a message.
    if row["messages"] is None:
        return [{**{name: row[name] for name in _MESSAGE}, "replaced": 0}]
    records = sorted(
        row["messages"], key=lambda record: (record["replaced"], record["retries"])
    )
    return [
        {
            **{name: record[name] for name in ("retries", "replaced", "queue")},
            "scheduled_at": read_instant(record["scheduled_at"]),
        }
        for record in records
    ]


def _runs(row: RowMapping) -> Iterator[Attempt]:
    """Yield the runs of a result; `scheduled_at` is when their message says it was."""
    for record in row["attempts"] or ():
        names = ("retries", "queue", "worker", "outcome", "traceback")
        error = record["error"]
        yield Attempt(
            **{name: record[name] for name in names},
            scheduled_at=read_instant(record["published_at"]),
            started_at=read_instant(record["started_at"]),
            finished_at=read_instant(record["finished_at"]),
            error=error and _error_text(error.encode()),
        )
    status = row["status"]
    is_over = status in ENDED or status == RETRY
    stored_at = row["stored_at"]  # Rows of other programs may have none.
    failed = status in EXCEPTION_STATES
    yield Attempt(
        **{name: row[name] for name in ("retries", "queue", "worker", "traceback")},
        scheduled_at=row["published_at"],
        started_at=row["started_at"],
        finished_at=stored_at.replace(tzinfo=UTC) if is_over and stored_at else None,
        outcome=status if is_over else None,
        error=_error_text(bytes(row["error"] or b"")) if failed else None,
    )


def _published(messages: Sequence[Mapping[str, Any]]) -> Iterator[Attempt]:
    """Yield an attempt for each message, without what is known of its run.

    Only a run can replace its task, so a message with a replacement has had one, even
    if the run was so short that its start was not stored.
    """
    for message, later in zip_longest(messages, messages[1:]):
        is_replaced = later is not None and later["replaced"] > message["replaced"]
        values = {name: message[name] for name in _MESSAGE}
        yield Attempt(**values, outcome=REPLACED if is_replaced else None)


def _message_of(run: Attempt, published: Sequence[Attempt]) -> int | None:
    """Return which message a run belongs to."""
    numbers = range(len(published))
    for number in numbers:
        if published[number].scheduled_at == run.scheduled_at:
            return number
    # The message of a publisher without workertoolbox does not say when it was sent.
    same = [n for n in numbers if published[n].retries == (run.retries or 0)]
    return same[-1] if same and run.scheduled_at is None else None


def _order(attempt: Attempt) -> tuple[datetime, datetime]:
    started_at = attempt.started_at or NEVER
    return attempt.scheduled_at or started_at, started_at


def _error_text(encoded: bytes) -> str | None:
    """Return the exception in the beginning of a result, as Python prints it."""
    try:
        error = jsonable(decode_prefix(encoded))
    except (ValueError, RecursionError):
        return None  # A pickle of an older release, or nested too deeply.
    text = failure_text(error)
    return str(error) if text is None else text.removesuffix(": ")
