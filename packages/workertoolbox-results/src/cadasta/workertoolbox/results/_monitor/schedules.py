"""Idempotent writing of the entries of beat's schedule.

The order of messages, and second copies, do not change a row: each value is taken from
the latest message that has it, or computed from the set of messages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, or_, select, update

from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.tables import schedule
from cadasta.workertoolbox.results._history.faulty_rows import FaultyRows
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results._monitor.scheduled_runs import (
    ListedEntry,
    ScheduledRun,
)
from cadasta.workertoolbox.results._schedules.runs import RunLog

#: How long an entry stays that was neither sent nor listed, and has not been due since.
KEPT_FOR = timedelta(days=30)

#: A row of the table, and the key of one: the service and the entry.
_Row = dict[str, Any]
_Key = tuple[str, str]


def write_runs(
    connection: Connection, records: Iterable[TaskRecord], faulty: FaultyRows
) -> None:
    """Write the runs that beat has sent, and the lists of entries.

    Args:
        faulty: Leaves out runs whose entry cannot be read.
    """
    runs = [each.run for each in records if each.run is not None]

    def write(some: Sequence[ScheduledRun]) -> Sequence[ScheduledRun]:
        _write_runs(connection, some)
        return some

    faulty.process(
        *(connection, runs, write),
        what="entry of beat's schedule",
        key=lambda run: f"{run.service} {run.entry}".strip(),
    )


def _write_runs(connection: Connection, runs: Sequence[ScheduledRun]) -> None:
    lists = [each for each in runs if each.entries is not None]
    _insert_missing(connection, runs)
    rows = _lock_rows(connection, runs)
    before = {key: {**row} for key, row in rows.items()}
    for (service, entry), some in groupby(sorted(runs, key=_key_of), key=_key_of):
        _add_runs(rows[service, entry], [*some])
    for listing in lists:
        _apply_list(rows, listing)
    changed = [row for key, row in rows.items() if row != before[key]]
    if changed:
        connection.execute(_UPDATE, [_parameters(row) for row in changed])
    for listing in lists:
        _delete_old(connection, listing.service, listing.run.sent_at)


_key_of = attrgetter("service", "entry")

_UPDATE = (
    update(schedule)
    .where(
        schedule.c.service == bindparam("_service"),
        schedule.c.entry == bindparam("_entry"),
    )
    .values(
        {
            column.name: bindparam(f"_{column.name}", type_=column.type)
            for column in schedule.c
            if column.name not in ("service", "entry")
        }
    )
)


def _parameters(row: _Row) -> _Row:
    return {f"_{name}": value for name, value in row.items()}


def _insert_missing(connection: Connection, runs: Sequence[ScheduledRun]) -> None:
    found: dict[_Key, datetime] = {}
    for each in runs:
        listed = (one.entry for one in each.entries or () if one.schedule is not None)
        for entry in (each.entry, *listed):
            key = each.service, entry
            found[key] = min(found.get(key, each.run.sent_at), each.run.sent_at)
    rows = [
        {
            "service": service,
            "entry": entry,
            "first_at": first_at,
            **dict.fromkeys(("count", "missed", "doubled"), 0),
            "runs": RunLog().as_json(),
        }
        # All monitors lock rows in the same order, so that they cannot deadlock.
        for (service, entry), first_at in sorted(found.items())
    ]
    insert = insert_into(schedule, connection.dialect.name)
    connection.execute(insert.on_conflict_do_nothing(), rows)


def _lock_rows(
    connection: Connection, runs: Iterable[ScheduledRun]
) -> dict[_Key, _Row]:
    """Return the rows of the entries that are sent or listed, locked."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for each in runs:
        wanted[each.service] |= {each.entry, *(one.entry for one in each.entries or ())}
    query = (
        select(schedule)
        .where(
            or_(
                *(
                    and_(schedule.c.service == service, schedule.c.entry.in_(entries))
                    for service, entries in wanted.items()
                )
            )
        )
        .order_by(schedule.c.service, schedule.c.entry)
        .with_for_update()
    )
    rows = connection.execute(query).mappings()
    return {(row["service"], row["entry"]): {**row} for row in rows}


def _add_runs(row: _Row, runs: Sequence[ScheduledRun]) -> None:
    log = RunLog.from_json(row["runs"]).add(each.run for each in runs)
    last = log.runs[-1]
    row |= {
        "runs": log.as_json(),
        "count": log.count,
        "missed": log.all_missed,
        "doubled": log.all_doubled,
        "missed_at": log.last_missed_at,
        "doubled_at": log.last_doubled_at,
        "first_at": min(row["first_at"], *(each.run.sent_at for each in runs)),
        "task_id": last.task_id,
        "due_at": last.due_at,
        "sent_at": last.sent_at,
        "late_s": None
        if last.due_at is None
        else max(0.0, (last.sent_at - last.due_at).total_seconds()),
    }
    for each in runs:
        run = each.run
        if run.task_id == last.task_id:
            row |= {"origin": each.origin, "started_at": each.started_at}
        described = (each.entry, each.name, run.schedule, run.timezone, run.next_at)
        _describe(row, ListedEntry(*described), each)


def _apply_list(rows: dict[_Key, _Row], listing: ScheduledRun) -> None:
    at = listing.run.sent_at
    for entry in listing.entries or ():
        row = rows.get((listing.service, entry.entry))
        if row is not None:
            row["listed_at"] = max(row["listed_at"] or at, at)
            row["first_at"] = min(row["first_at"], at)
            if entry.schedule is not None:
                _describe(row, entry, listing)


def _describe(row: _Row, entry: ListedEntry, sender: ScheduledRun) -> None:
    """Store what a message says about an entry, unless a later one has said it."""
    at = sender.run.sent_at
    if row["described_at"] is None or at >= row["described_at"]:
        row |= {
            "name": entry.name,
            "schedule": entry.schedule,
            "timezone": entry.timezone,
            "next_at": entry.next_at,
            "max_interval_s": sender.max_interval_s,
            "described_at": at,
        }


def _delete_old(connection: Connection, service: str, now: datetime) -> None:
    before = now - KEPT_FOR
    latest = (schedule.c.sent_at, schedule.c.listed_at, schedule.c.next_at)
    connection.execute(
        delete(schedule).where(
            schedule.c.service == service,
            schedule.c.first_at < before,
            *(or_(column.is_(None), column < before) for column in latest),
        )
    )
