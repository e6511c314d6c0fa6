"""The attempts of a task: its messages, and the runs that workers have stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import zip_longest
from operator import itemgetter
from typing import Any, TypeAlias

from celery.states import EXCEPTION_STATES, RETRY
from sqlalchemy import Connection, RowMapping

from cadasta.workertoolbox.results._arguments.cut_json import decode_prefix
from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.types import NEVER
from cadasta.workertoolbox.results._history.attempt_records import (
    MAX_ATTEMPTS,
    REPLACED,
    read_instant,
)
from cadasta.workertoolbox.results._history.clocks import (
    MAX_AGE,
    MAX_LEAD,
    MAX_SKEW,
    believed,
)
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.tasks.stored_attempts import (
    StoredAttempts,
    read_stored,
)
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
    stored = read_stored(connection, ids, ended_at or {})
    return {id: _attempts(each) for id, each in stored.items()}


def find_retries(connection: Connection, id: str) -> Sequence[int]:
    """Return the retry number of each message of a task, in their order."""
    return [each["retries"] for each in read_stored(connection, [id], {})[id].messages]


def _attempts(stored: StoredAttempts) -> Sequence[Attempt]:
    published = [*_published(stored.messages)]
    times = _times(published)
    found: list[tuple[_Key, Attempt]] = []
    seen = set()
    for run in _distinct_runs(stored.result):
        number = _message_of(run, stored.messages)
        started_at = run.started_at or NEVER
        if number is None:
            found.append(((run.scheduled_at or started_at, 0, started_at), run))
            continue
        seen.add(number)
        message = published[number]
        # A result of Celery's own backend says little about its run.
        known = replace(
            run,
            retries=message.retries if run.retries is None else run.retries,
            queue=run.queue or message.queue,
            scheduled_at=message.scheduled_at,
            outcome=run.outcome or message.outcome,
        )
        found.append(((times[number], number, started_at), known))
    for number, message in enumerate(published):
        if number not in seen:
            found.append(((times[number], number, NEVER), message))
    in_order = sorted(found, key=itemgetter(0))
    return [each for _, each in in_order][-MAX_ATTEMPTS:]


#: What attempts are sorted by: publication, number of the message, start.
_Key: TypeAlias = tuple[datetime, int, datetime]


def _times(published: Iterable[Attempt]) -> Sequence[datetime]:
    """Return the times by which the messages of a task are sorted.

    Clocks may differ, so a later message that seems to be up to a day older than the
    one before it is sorted after it. `is_queued_again` allows the same difference.
    """
    times: list[datetime] = []
    for each in published:
        at = each.scheduled_at or NEVER
        if times and at < times[-1] <= at + MAX_SKEW:
            at = times[-1]
        times.append(at)
    return times


def _distinct_runs(result: RowMapping | None) -> Iterable[Attempt]:
    if result is None:
        return ()
    # A run that was taken for lost may have ended later, as a duplicate.
    runs = {(run.retries, run.worker, run.started_at): run for run in _runs(result)}
    return runs.values()


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
        yield Attempt(
            retries=message["retries"],
            queue=message["queue"],
            scheduled_at=believed(message["scheduled_at"], message["seen_at"]),
            outcome=REPLACED if is_replaced else None,
        )


def _message_of(run: Attempt, messages: Sequence[Mapping[str, Any]]) -> int | None:
    """Return which message a run belongs to."""
    numbers = range(len(messages))
    for number in numbers:
        if messages[number]["scheduled_at"] == run.scheduled_at:
            return number
    # The message of a publisher without workertoolbox does not say when it was sent.
    same = [
        number
        for number in numbers
        if messages[number]["retries"] == (run.retries or 0)
        and (run.scheduled_at is None or _is_limited(messages[number]))
    ]
    return same[-1] if same else None


def _is_limited(message: Mapping[str, Any]) -> bool:
    """Return whether a message may state another time than the stored one.

    The clock of its publisher is wrong by more than a day; or by more than `MAX_LEAD`,
    and an older release has stored the message.
    """
    lead = message["scheduled_at"] - message["seen_at"]
    return lead in (MAX_LEAD, MAX_SKEW, -MAX_AGE)


def _error_text(encoded: bytes) -> str | None:
    """Return the exception in the beginning of a result, as Python prints it."""
    try:
        error = jsonable(decode_prefix(encoded))
    except (ValueError, RecursionError):
        return None  # A pickle of an older release, or nested too deeply.
    text = failure_text(error)
    return str(error) if text is None else text.removesuffix(": ")
