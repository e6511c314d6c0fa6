"""The methods of `TaskStore` for the entries of beat's schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from sqlalchemy import Connection, RowMapping, delete, select

from cadasta.workertoolbox.results._database.engine import translate_errors
from cadasta.workertoolbox.results._database.tables import schedule
from cadasta.workertoolbox.results._errors import ScheduleNotFound
from cadasta.workertoolbox.results._history.horizon import Report, read_reports, running
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._schedules.words import in_words
from cadasta.workertoolbox.results._store.open_database import OpenDatabase
from cadasta.workertoolbox.results._store.rows.reading import read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.schedules.runs import (
    EntryKey,
    ScheduledRun,
    read_runs,
)
from cadasta.workertoolbox.results._task import Task

#: The longest sleep in seconds of Celery's beat, by default.
MAX_INTERVAL_S = 300.0

#: How long after its next run was due an entry without a run is shown.
SHOWN_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun(JsonRecord):
    """The last run of an entry that beat has sent.

    Attributes:
        task_id: Id of its task.
        due_at: When it was due; None if the schedule does not say that.
        sent_at: When beat published it.
        late_s: Seconds from `due_at` to `sent_at`.
        status: The status of the task; None if the task was purged.
        run_s: Seconds that the task ran; None before its end.
    """

    task_id: str
    due_at: datetime | None
    sent_at: datetime
    late_s: float | None
    status: str | None
    run_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(JsonRecord):
    """An entry of beat's schedule, as beat's messages describe it.

    Attributes:
        entry: Its name.
        service: The name of beat's app; None if the app has no name.
        name: The name of its task; None if only the name of the entry is known.
        schedule: A crontab such as `30 2 * * mon-fri` (minute, hour, day of the month,
            month, day of the week), `every 900s`, `solar sunset 52.5 13.4`, or another
            text.
        words: The schedule in words, such as `every 15 minutes`, or the same text.
        timezone: The time zone of a crontab, such as `Europe/Berlin`.
        origin: The process of beat that has sent the last run.
        started_at: When that process started.
        last: The last run; None if beat has only listed the entry.
        next_at: When the next run is due; None if the entry has no next run.
        count: Number of runs since `first_at`.
        missed: Number of runs since then that were due and not sent.
        missed_at: When the first run after the last missed one was sent.
        doubled: Number of runs since then that two processes of beat have sent.
        doubled_at: When the last of these was sent.
        first_at: When beat first named the entry.
        overdue: Whether the next run should have been sent by now. Beat may be late by
            the longest time that it sleeps (`beat_max_loop_interval`, or
            `--max-interval`), and messages that no monitor has read may contain the
            run.
        removed: Whether a later list of beat's entries does not have this one.
        known_until: Up to when monitors have read the messages.
    """

    json_merged: ClassVar = frozenset({"last"})

    entry: str
    service: str | None
    name: str | None
    schedule: str
    words: str
    timezone: str | None
    origin: str | None
    started_at: datetime | None
    last: LastRun | None
    next_at: datetime | None
    count: int
    missed: int
    missed_at: datetime | None
    doubled: int
    doubled_at: datetime | None
    first_at: datetime
    overdue: bool
    removed: bool
    known_until: datetime


class Schedules(OpenDatabase):
    """The methods of `TaskStore` for the entries of beat's schedule."""

    def schedules(self, *, removed: bool = False) -> Sequence[Schedule]:
        """Return the entries of beat's schedule, by service and name.

        An entry is known from its first run on, or from the first list of entries with
        it, which beat sends with one of its first messages. An entry that is overdue
        for more than 30 days is left out.

        Example:
            Entries whose last run is overdue or has failed::

                for entry in store.schedules():
                    if entry.overdue or entry.last and entry.last.status == "FAILURE":
                        print(entry.entry, entry.words, entry.next_at)

        Args:
            removed: Whether to include entries that beat does not list any more.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with self._snapshot() as connection:
            entries = read_schedules(connection, datetime.now(UTC))
        return [each for each in entries if removed or not each.removed]

    def overdue_schedules(self) -> Sequence[Schedule]:
        """Return the entries of beat's schedule that are overdue.

        The tasks of the last runs are not read: their status and run time are None.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with self._snapshot() as connection:
            entries = read_schedules(connection, datetime.now(UTC), with_tasks=False)
        return [each for each in entries if each.overdue and not each.removed]

    def schedule_runs(
        self, schedules: Sequence[Schedule]
    ) -> Sequence[Sequence[ScheduledRun]]:
        """Return the latest runs of entries, at most twenty of each, oldest first.

        Example:
            Entries of which any of the latest runs has failed::

                entries = store.schedules()
                for entry, runs in zip(entries, store.schedule_runs(entries)):
                    if any(run.status == "FAILURE" for run in runs):
                        print(entry.entry)

        Args:
            schedules: Entries that `schedules` returned; the result has their order.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        keys = [EntryKey(each.service, each.entry) for each in schedules]
        with self._snapshot() as connection:
            runs = read_runs(connection, keys)
        return [runs.get(key, ()) for key in keys]

    def forget_schedule(self, entry: str, *, service: str | None = None) -> None:
        """Delete an entry from the database. It returns if beat sends it again.

        The role needs the privileges of a purger.

        Args:
            entry: Its name.
            service: Only the entry of this service.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the change.
            ScheduleNotFound: No entry has this name.
        """
        deletion = delete(schedule).where(schedule.c.entry == entry)
        if service is not None:
            deletion = deletion.where(schedule.c.service == service)
        with translate_errors(self.engine), self.engine.begin() as connection:
            if not connection.execute(deletion).rowcount:
                raise ScheduleNotFound(entry)


def read_schedules(
    connection: Connection, now: datetime, *, with_tasks: bool = True
) -> Sequence[Schedule]:
    """Return all entries that are shown, by service and name.

    Args:
        with_tasks: Whether to read the tasks of the last runs.
    """
    order = schedule.c.service, schedule.c.entry
    query = select(*(each for each in schedule.c if each.name != "runs"))
    known_until = find_known_until(connection, now)
    rows = connection.execute(query.order_by(*order)).mappings().all()
    ids = [row["task_id"] for row in rows if with_tasks and row["task_id"] is not None]
    tasks = {task.id: task for task in read_tasks(connection, ids, detail=Detail.BRIEF)}
    lists = _last_lists(rows)
    entries = (
        _schedule(row, tasks, lists.get(row["service"]), known_until) for row in rows
    )
    oldest = now - SHOWN_FOR
    return [
        each
        for each in entries
        if not (each.overdue and each.next_at and each.next_at < oldest)
    ]


def find_known_until(connection: Connection, now: datetime) -> datetime:
    """Return the time up to which all running monitors have read the messages.

    While no monitor runs, it is when the last one stopped reading. If no monitor
    reports, it is the present.
    """
    reports = read_reports(connection)
    known = _known_times(reports)
    if not known:
        return now
    return min(now, min(_known_times(running(reports, now)), default=max(known)))


def _known_times(reports: Iterable[Report]) -> Sequence[datetime]:
    return [each.read_until for each in reports if each.read_until is not None]


def _schedule(
    row: RowMapping,
    tasks: Mapping[str, Task],
    last_list_at: datetime | None,
    known_until: datetime,
) -> Schedule:
    sleeps_s = row["max_interval_s"]
    tolerance_s = MAX_INTERVAL_S if sleeps_s is None else sleeps_s
    next_at: datetime | None = row["next_at"]
    is_past = next_at is not None and (
        next_at + timedelta(seconds=tolerance_s) < known_until
    )
    same = (
        *("entry", "name", "timezone", "origin", "started_at", "next_at", "count"),
        *("missed", "missed_at", "doubled", "doubled_at", "first_at"),
    )
    return Schedule(
        **{name: row[name] for name in same},
        service=row["service"] or None,
        schedule=row["schedule"] or "",
        words=in_words(row["schedule"] or ""),
        last=_last_run(row, tasks),
        overdue=is_past and not _is_absent(row, last_list_at, since=row["next_at"]),
        removed=_is_absent(row, last_list_at),
        known_until=known_until,
    )


def _last_lists(rows: Sequence[RowMapping]) -> Mapping[str, datetime]:
    """Return when each service sent its last list of entries."""
    found: dict[str, datetime] = {}
    for row in rows:
        if (at := row["listed_at"]) is not None:
            found[row["service"]] = max(found.get(row["service"], at), at)
    return found


def _is_absent(
    row: RowMapping, last_list_at: datetime | None, *, since: datetime | None = None
) -> bool:
    """Return whether an entry is missing from the last list of its service.

    Args:
        since: Older lists do not count: a scheduler may load only the entries that are
            due in the next hours, and list only those.
    """
    times = (row["listed_at"], row["sent_at"], since)
    return last_list_at is not None and all(
        last_list_at > each for each in times if each is not None
    )


def _last_run(row: RowMapping, tasks: Mapping[str, Task]) -> LastRun | None:
    if row["task_id"] is None:
        return None
    task = tasks.get(row["task_id"])
    return LastRun(
        **{name: row[name] for name in ("task_id", "due_at", "sent_at", "late_s")},
        status=None if task is None else task.status,
        run_s=None if task is None else task.run_s,
    )
