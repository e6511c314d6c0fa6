"""Whether a fleet has counted each task once, and deleted what is too old."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from celery import states

from cadasta.workertoolbox.results._history.retention import Retention
from cadasta.workertoolbox.results._history.tiers import KEEP
from endurance.fleet import RETENTION, Fleet
from endurance.workload import CLEANUP, RETRYING, expected
from support.statements import fetch

#: Ended tasks by name and status, of all days, also of those that are dropped.
_COUNTED = """
SELECT name, status, sum(count) FROM workertoolbox_rollup
WHERE tier = :tier AND status <> 'RETRY' GROUP BY name, status
"""

_RETRIED = """
SELECT sum(retries) FROM workertoolbox_rollup WHERE tier = 'day' AND status = 'RETRY'
"""

_DAYS = "SELECT keep, min(day) FROM workertoolbox_history GROUP BY keep"

#: The minutes of the rollups that differ from the history, from the first day on whose
#: tasks are all in it.
_RECOUNT = """
SELECT at, name, queue, status, sum(count) FROM workertoolbox_rollup
WHERE tier = 'minute' AND status <> 'RETRY' AND at >= :since
GROUP BY at, name, queue, status
EXCEPT ALL
SELECT date_trunc('minute', finished_at), name, queue, status, count(*)
FROM workertoolbox_history WHERE finished_at >= :since
GROUP BY 1, 2, 3, 4
"""

_ROWS = """
SELECT count(*), count(DISTINCT id), count(seen_at) FROM workertoolbox_history
"""

#: Tables in which nothing may be left once all tasks are archived.
_LIVE = tuple(
    f"workertoolbox_{name}"
    for name in ("task", "attempt", "planned", "quarantine", "chord_part")
)


def miscounts(fleet: Fleet, *, tasks: int, cleanups: int) -> Iterator[str]:
    """Yield how figures and history differ from the tasks that were published.

    Args:
        tasks: The number of tasks of the producers.
        cleanups: The number of tasks of beat.
    """
    due = expected(tasks) + Counter({(CLEANUP, states.SUCCESS): cleanups})
    for tier in ("day", "hour"):
        found = _fetch(fleet, _COUNTED, tier=tier)
        counted = Counter({(name, status): int(n) for name, status, n in found})
        if counted != due:
            yield f"by the {tier} counted {counted - due} too many, {due - counted} few"
    retried = int(_fetch(fleet, _RETRIED)[0][0] or 0)
    if retried != due[RETRYING, states.SUCCESS]:
        yield f"{retried} retries are counted, not {due[RETRYING, states.SUCCESS]}"
    rows, ids, tracked = _fetch(fleet, _ROWS)[0]
    if not rows == ids == tracked:
        yield f"the history has {rows} rows, {ids} ids and {tracked} messages"
    if different := _fetch(fleet, _RECOUNT, since=_complete_since(fleet)):
        yield f"figures of {len(different)} minutes differ: {different[:3]}"
    for table in _LIVE:
        if left := _fetch(fleet, f"SELECT count(*) FROM {table}")[0][0]:
            yield f"{left} rows are left in {table}"


def _complete_since(fleet: Fleet) -> datetime:
    """Return the beginning of the first day whose tasks are all in the history."""
    first = max((day for _, day in _fetch(fleet, _DAYS)), default=date.max)
    return datetime(first.year, first.month, first.day, tzinfo=UTC)


def too_old(fleet: Fleet) -> Iterator[str]:
    """Yield what should be deleted, and is not."""
    now = fleet.clock.now()
    for keep, day in _fetch(fleet, _DAYS):
        last = Retention(RETENTION).last_day(keep, now.date())
        if last is not None and day <= last:
            yield f"the history has {day} of the class {keep}"
    for table, column, condition, age in (
        ("workertoolbox_rollup", "at", "tier = 'minute'", KEEP["minute"]),
        ("workertoolbox_day_value", "day", "true", timedelta(days=5)),
        ("celery_taskmeta", "date_done", "true", timedelta(days=2)),
    ):
        query = f"SELECT min({column}) FROM {table} WHERE {condition}"
        oldest = _fetch(fleet, query)[0][0]
        if oldest is not None and _as_datetime(oldest) < now.replace(tzinfo=None) - age:
            yield f"{table} has {oldest}"


def _as_datetime(value: date | datetime) -> datetime:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    return datetime(value.year, value.month, value.day)


def _fetch(fleet: Fleet, query: str, **values: object) -> Sequence[Any]:
    return fetch(fleet.database, query, **values)
