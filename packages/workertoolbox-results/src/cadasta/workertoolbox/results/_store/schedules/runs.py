"""The latest runs of the entries of beat's schedule, with the states of their tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select, tuple_

from cadasta.workertoolbox.results._database.archived import are_on
from cadasta.workertoolbox.results._database.snapshot import release_locks
from cadasta.workertoolbox.results._database.tables import history, schedule
from cadasta.workertoolbox.results._database.view import live
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._schedules.runs import Run, RunLog

#: Maximum number of entries, and of tasks, that one statement reads.
ENTRIES_PER_QUERY, IDS_PER_QUERY = 200, 1000

#: The end of a run is looked for on the day on which it was sent, and so many later.
DAYS_LATER = 2

#: Maximum number of days whose runs one statement looks for in the history.
DAYS_PER_QUERY = 14


class EntryKey(NamedTuple):
    """What identifies an entry of a schedule: its service, if it has one, and name."""

    service: str | None
    entry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledRun(JsonRecord):
    """A run of an entry that beat has sent.

    Attributes:
        task_id: Id of its task.
        due_at: When it was due; None if the schedule does not say that.
        sent_at: When beat published it.
        late_s: Seconds from `due_at` to `sent_at`.
        missed: Number of runs before it that were due and not sent.
        doubled: Whether another process of beat has sent this run, too.
        status: The status of the task; None if the task was purged, or ended more than
            two days after the run was sent.
        run_s: Seconds that the task ran; None before its end.
    """

    task_id: str
    due_at: datetime | None
    sent_at: datetime
    late_s: float | None
    missed: int
    doubled: bool
    status: str | None
    run_s: float | None


class _State(NamedTuple):
    """The state of a task."""

    status: str
    run_s: float | None


def read_runs(
    connection: Connection, entries: Sequence[EntryKey]
) -> Mapping[EntryKey, Sequence[ScheduledRun]]:
    """Return the latest runs of entries, oldest first: at most twenty of each."""
    logs = dict(_read_logs(connection, entries))
    runs = [run for log in logs.values() for run in log]
    states = _read_states(connection, {run.task_id: run.sent_at.date() for run in runs})
    return {
        key: [_run(run, states.get(run.task_id)) for run in log]
        for key, log in logs.items()
    }


def _read_logs(
    connection: Connection, entries: Sequence[EntryKey]
) -> Iterator[tuple[EntryKey, Sequence[Run]]]:
    columns = schedule.c
    for start in range(0, len(entries), ENTRIES_PER_QUERY):
        some = entries[start : start + ENTRIES_PER_QUERY]
        keys = [(each.service or "", each.entry) for each in some]
        query = select(columns.service, columns.entry, columns.runs).where(
            tuple_(columns.service, columns.entry).in_(keys)
        )
        for service, entry, log in connection.execute(query):
            yield EntryKey(service or None, entry), RunLog.from_json(log).runs


def _read_states(
    connection: Connection, days: Mapping[str, date]
) -> Mapping[str, _State]:
    """Return the states of tasks by id: of live ones, and of those in the history.

    Args:
        days: When the tasks were sent, by id.
    """
    ids = sorted(days, key=lambda id: (days[id], id))
    columns = live.c
    found: dict[str, _State] = {}
    for some in _parts(ids):
        query = select(
            columns.id, columns.status, columns.started_at, columns.finished_at
        ).where(columns.id.in_(some))
        found |= _states(connection.execute(query))
    by_days = defaultdict(list)
    for id in ids:
        if id not in found:
            by_days[days[id].toordinal() // DAYS_PER_QUERY].append(id)
    for group in by_days.values():
        for some in _parts(group):
            found |= _read_archived(connection, some, {days[id] for id in some})
    return found


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), IDS_PER_QUERY):
        yield ids[start : start + IDS_PER_QUERY]


def _read_archived(
    connection: Connection, ids: Sequence[str], sent_on: Iterable[date]
) -> Mapping[str, _State]:
    """Return the states of tasks in the history that were sent on some days."""
    later = range(DAYS_LATER + 1)
    ended_on = {day + timedelta(days=n) for day in sent_on for n in later}
    columns = history.c
    query = (
        select(columns.id, columns.status, columns.started_at, columns.finished_at)
        .where(columns.id.in_(ids), are_on(ended_on))
        # Of two ends of the same id, the newest is the last, and is returned.
        .order_by(columns.day)
    )
    release_locks(connection)
    return _states(connection.execute(query))


def _states(rows: Iterable[Row[Any]]) -> dict[str, _State]:
    return {
        row.id: _State(row.status, _seconds(row.started_at, row.finished_at))
        for row in rows
    }


def _seconds(since: datetime | None, until: datetime | None) -> float | None:
    if since is None or until is None:
        return None
    return max((until - since).total_seconds(), 0.0)


def _run(run: Run, state: _State | None) -> ScheduledRun:
    return ScheduledRun(
        task_id=run.task_id,
        due_at=run.due_at,
        sent_at=run.sent_at,
        late_s=_seconds(run.due_at, run.sent_at),
        missed=run.missed,
        doubled=run.doubled,
        status=None if state is None else state.status,
        run_s=None if state is None else state.run_s,
    )
