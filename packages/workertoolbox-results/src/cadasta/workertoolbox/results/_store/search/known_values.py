"""Values that tasks have, and suggestions for values that no task has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from difflib import get_close_matches

from celery.states import FAILURE, PENDING, RETRY, REVOKED, STARTED, SUCCESS
from sqlalchemy import Column, Connection, literal, select

from cadasta.workertoolbox.results._database.statuses import (
    QUEUED,
    SCHEDULED,
    STATUSES,
    USUAL_STATES,
)
from cadasta.workertoolbox.results._database.tables import (
    backlog,
    day_value,
    planned,
    rollup,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._errors import UnknownStatus, UnknownValue
from cadasta.workertoolbox.results._history.tiers import TIERS, interval_start
from cadasta.workertoolbox.results._store.rows.distinct_values import (
    MAX_VALUES,
    distinct_values,
)
from cadasta.workertoolbox.results._store.rows.filters import Filters
from cadasta.workertoolbox.results._store.rows.value_days import find_days
from cadasta.workertoolbox.results._store.search.live_results import open_states

#: Similarity, as `difflib` measures it from 0 to 1, from which a value is suggested.
MIN_SIMILARITY = 0.6

#: Other words for statuses.
_SYNONYMS = {
    FAILURE: "crashed errored error exception fail failed failing",
    STARTED: "active busy executing processing run running working",
    SUCCESS: "complete completed done finished ok succeed succeeded successful",
    REVOKED: "aborted canceled cancelled discarded killed stopped terminated",
    RETRY: "again retried retrying",
    QUEUED: "enqueued new open pending published ready received sent waiting",
    SCHEDULED: "delayed eta future",
}

_MEANT = {word: status for status, words in _SYNONYMS.items() for word in words.split()}

#: The columns of live tasks with the values of a filter; each has an index.
_COLUMNS: dict[str, tuple[Column[str], ...]] = {
    "name": (task.c.name, planned.c.name),
    "queue": (task.c.queue,),
    "worker": (),
}


def known_names(connection: Connection, since: datetime) -> Sequence[str]:
    """Return the names of live tasks, and of those that ended since a day, sorted.

    Of ended tasks, only the figures by the day are read: a row a day and name.
    """
    live = distinct_values(connection, task.c.name)
    return sorted({*live, *_values_since(connection, rollup.c.name, since)})


def known_queues(connection: Connection, since: datetime) -> Sequence[str]:
    """Return the queues of live tasks, and those with tasks since a day, sorted."""
    live = distinct_values(connection, task.c.queue)
    ended = _values_since(connection, rollup.c.queue, since)
    waiting = _values_since(connection, backlog.c.queue, since)
    return sorted({*live, *ended, *waiting})


def check_values(
    connection: Connection, filters: Filters, known: Collection[str] = ()
) -> None:
    """Refuse filters with values that no task has.

    Args:
        known: Further names and queues that are right, although no task has them yet.

    Raises:
        UnknownStatus: No task has the status.
        UnknownValue: No task has the name, the queue or the worker.
    """
    if filters.status is not None:
        check_status(connection, filters.status)
    for kind in _COLUMNS:
        value = getattr(filters, kind)
        if value is None or value in known:
            continue
        if not _exists(connection, kind, value):
            values = {*known, *_stored_values(connection, kind)}
            raise UnknownValue(value, kind, _nearest(value, values))


def check_status(connection: Connection, status: str) -> None:
    """Refuse a status that no task has, unless it is a usual one.

    Raises:
        UnknownStatus: No task has the status, or it is `PENDING`, Celery's status for
            tasks that it does not know.
    """
    is_usual = status in STATUSES or status in USUAL_STATES
    if is_usual and status != PENDING:
        return
    if status not in open_states(connection):
        raise UnknownStatus(status, meant_status(status))


def _exists(connection: Connection, kind: str, value: str) -> bool:
    """Return whether a task has a name, a queue or a worker."""
    live = [select(literal(1)).where(each == value) for each in _COLUMNS[kind]]
    if any(connection.scalar(query.limit(1)) for query in live):
        return True
    if value in _newest_values(connection, kind):
        return True
    return bool(find_days(connection, {kind: [value]}))


def meant_status(status: str) -> str | None:
    """Return the status that someone meant who wrote another one, or None."""
    word = status.lower().replace("_", "").replace("-", "").strip()
    return _MEANT.get(word) or _nearest(status, {*STATUSES, *USUAL_STATES})


def _nearest(value: str, known: Iterable[str]) -> str | None:
    """Return the known value that resembles another one most; case does not matter."""
    by_case = {each.casefold(): each for each in sorted(known)}
    wanted = value.casefold()
    for near in get_close_matches(wanted, by_case, n=1, cutoff=MIN_SIMILARITY):
        return by_case[near]
    # Part of a name, such as the task without its module, or a host without `celery@`.
    parts = (each for key, each in by_case.items() if wanted and wanted in key)
    return next(parts, None)


def _stored_values(connection: Connection, kind: str) -> Iterator[str]:
    """Yield the values that tasks have, by one look into an index for each."""
    for column in _COLUMNS[kind]:
        yield from distinct_values(connection, column)
    yield from distinct_values(connection, day_value.c.value, day_value.c.kind == kind)
    yield from _newest_values(connection, kind)


def _newest_values(connection: Connection, kind: str) -> set[str]:
    """Return the values of the newest results, which may not be archived yet."""
    newest = select(taskmeta.c[kind]).order_by(taskmeta.c.date_done.desc())
    return {*connection.scalars(newest.limit(MAX_VALUES))} - {None}


def _values_since(
    connection: Connection, column: Column[str], since: datetime
) -> Sequence[str]:
    """Return the values in the figures by the day, except the empty one."""
    first = interval_start(since, TIERS["day"])
    tier, at = column.table.c.tier, column.table.c.at
    query = select(column).where(tier == "day", at >= first, column != "")
    return connection.scalars(query.distinct()).all()
