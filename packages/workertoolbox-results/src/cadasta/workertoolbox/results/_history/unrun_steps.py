"""Steps of workflows that are never run, because a task before them did not succeed.

Workers store a state for the steps after a task that failed or that they revoke. If a
worker is killed before that, or no worker has the task any more, the archiver stores
it: half a minute after the end of the task, or when it archives the task. A step whose
message arrives later is queued again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from celery import states
from sqlalchemy import Column, ColumnElement, Connection, Row, select

from cadasta.workertoolbox.results._database.archived import find_last_ends
from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.statuses import ENDED, LOST
from cadasta.workertoolbox.results._database.tables import planned, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._database.view import live
from cadasta.workertoolbox.results._history.closed_tasks import (
    encode_chord_error,
    encode_revocation,
    store_ends,
)
from cadasta.workertoolbox.results._history.conditions import has_message_or_result
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._history.stored_error import read_error

#: Ends of a task after which the steps that follow it are never published. The result
#: of an ignored task may still be stored from outside.
BREAKING = frozenset(ENDED) - {states.SUCCESS, states.IGNORED}

#: What the results of the steps say about the task before them, by its status.
_EVENTS = {
    states.FAILURE: "failed",
    states.REVOKED: "was revoked",
    states.REJECTED: "was rejected",
    LOST: "was lost",
}

#: What they say about a revoked task, by the beginning of its error.
_REVOCATIONS = {
    "TaskRevokedError: expired": "expired",
    "TaskRevokedError: refused by the broker": "was refused by the broker",
}

#: Maximum number of ids in a query: below SQLite's limit of variables.
_MAX_IDS = 1000

#: Seconds from the end of a task until the steps after it are closed: its worker may
#: still store their states, and messages of steps may still arrive.
CLOSED_AFTER_S = 20.0

#: Length in seconds of the time before that in which each search looks for ends.
#: Searches run more often. Steps that they miss are closed when the task is archived.
SEARCHED_S = 30.0


@dataclass(frozen=True, slots=True)
class _Cause:
    """The task that keeps steps from running, and the state of the steps.

    Attributes:
        id: The task that did not succeed.
        error: Its error as text, such as `ValueError: no map`.
        reason: The value of `not_run`, such as `not run: export.fetch[…] failed`.
        status: The status that is stored for the steps.
        result: The encoded error that is stored for them.
        result_bytes: Its size in bytes, if `result` is only its beginning.
    """

    id: str
    error: str
    reason: str
    status: str
    result: bytes
    traceback: str | None
    result_bytes: int | None = None

    def for_body(self) -> _Cause:
        """Return what workers store for the body of a chord."""
        message = f"Dependency {self.id} raised {self.error}"
        return replace(
            self,
            status=states.FAILURE,
            result=encode_chord_error(message),
            traceback=None,
            result_bytes=None,
        )


def close_recent_steps(
    connection: Connection, now: datetime, options: ArchiveOptions
) -> None:
    """Close the steps after tasks that ended a short while ago."""
    until = now - timedelta(seconds=CLOSED_AFTER_S)
    since = until - timedelta(seconds=SEARCHED_S)
    result = taskmeta.c
    query = (
        select(result.task_id)
        .where(result.archived_at.is_(None), result.status.in_(ENDED))
        .where(result.date_done.between(naive_utc(since), naive_utc(until)))
        .where(result.status.in_(sorted(BREAKING)), result.task_id.is_not(None))
    )

    def close(ids: Sequence[str]) -> Sequence[str]:
        close_steps(connection, ids, now, options.faulty)
        return ids

    options.faulty.process(
        *(connection, connection.scalars(query).all(), close),
        what="task before steps",
    )


def close_steps(
    connection: Connection, ids: Sequence[str], now: datetime, faulty: FaultyRows
) -> int:
    """Store that the steps after tasks that did not succeed are not run.

    The steps after these are included, and the bodies of chords whose header has one of
    the tasks. A step with a message or a state is left alone.

    Args:
        ids: Tasks that ended with one of `BREAKING` and are not archived yet. Those
            that have run again since are left out.
        faulty: Leaves out steps whose end cannot be stored.

    Returns:
        The number of steps.
    """
    members = _fetch(connection, (live.c.id, live.c.group_id), live.c.id, ids)
    groups: dict[str, str | None] = {row.id: row.group_id for row in members}
    found = [*_find_steps(connection, ids, _present(groups.values()))]
    if not found:
        return 0
    by_parent = {cause.id: cause for cause in _causes(connection, ids)}
    by_header = {
        group_id: by_parent[id].for_body()
        for id, group_id in groups.items()
        if group_id is not None and id in by_parent
    }
    ends: dict[str, Mapping[str, Any]] = {}
    while found:
        steps = []
        for step in found:
            cause = by_parent.get(step.parent_id) or by_header.get(step.header_id)
            if cause is None or step.id in ends:
                continue
            ends[step.id] = _end(step, cause, now)
            by_parent.setdefault(step.id, cause)
            by_header.setdefault(step.group_id, cause)
            steps.append(step)
        found = [
            *_find_steps(
                connection,
                [step.id for step in steps],
                _present(step.group_id for step in steps),
            )
        ]
    return len(store_ends(connection, ends.values(), faulty))


def _find_steps(
    connection: Connection, ids: Sequence[str], group_ids: Sequence[str]
) -> Iterator[Row[Any]]:
    """Yield planned steps without a message or a state, after tasks and groups."""
    names = ("id", "name", "root_id", "parent_id", "header_id", "group_id")
    columns = [planned.c[name] for name in names]
    id = planned.c.id
    unseen = ~has_message_or_result(id)
    steps = [
        *_fetch(connection, columns, planned.c.parent_id, ids, unseen),
        *_fetch(connection, columns, planned.c.header_id, group_ids, unseen),
    ]
    ended = {each.id for each in find_last_ends(connection, [row.id for row in steps])}
    yield from (step for step in steps if step.id not in ended)


def _causes(connection: Connection, ids: Sequence[str]) -> Iterator[_Cause]:
    names = ("id", "name", "status", "result", "traceback", "not_run", "result_bytes")
    columns = [live.c[name] for name in names]
    for row in _fetch(connection, columns, live.c.id, ids):
        if row.status not in BREAKING:
            continue  # It runs again, or has succeeded, since it was found.
        encoded = bytes(row.result or b"null")
        error = read_error(encoded).text
        event = next(
            (text for begin, text in _REVOCATIONS.items() if error.startswith(begin)),
            _EVENTS[row.status],
        )
        reason = row.not_run or f"not run: {row.name or 'task'}[{row.id}] {event}"
        if row.status in states.PROPAGATE_STATES:
            yield _Cause(
                *(row.id, error, reason, row.status),
                *(encoded, row.traceback, row.result_bytes),
            )
        else:
            error = f"TaskRevokedError: {event}"
            encoded = encode_revocation(reason)
            yield _Cause(row.id, error, reason, states.REVOKED, encoded, None)


def _end(step: Row[Any], cause: _Cause, now: datetime) -> dict[str, Any]:
    return {
        "task_id": step.id,
        "status": cause.status,
        "result": cause.result,
        "result_bytes": cause.result_bytes,
        "date_done": naive_utc(now),
        "traceback": cause.traceback,
        "name": step.name,
        "root_id": step.root_id,
        "parent_id": step.parent_id or cause.id,
        "group_id": step.group_id,
        "not_run": cause.reason,
    }


def _fetch(
    connection: Connection,
    columns: Iterable[Column[Any]],
    key: Column[Any],
    values: Sequence[str],
    *conditions: ColumnElement[bool],
) -> Iterator[Row[Any]]:
    for start in range(0, len(values), _MAX_IDS):
        some = values[start : start + _MAX_IDS]
        query = select(*columns).where(is_in(connection, key, some), *conditions)
        yield from connection.execute(query)


def _present(ids: Iterable[str | None]) -> list[str]:
    return [*dict.fromkeys(id for id in ids if id is not None)]
