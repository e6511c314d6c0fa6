"""The runs of beat's schedules: some were missed, and one entry is overdue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cadasta.workertoolbox.results._headers import BEAT
from export_demo.week.calls import Call, new_id
from export_demo.week.clock import DAY, HOUR, MINUTE, Clock
from export_demo.week.fleet import Job

#: How late beat is, and the longest time for which it sleeps.
LATE = timedelta(milliseconds=14)
MAX_INTERVAL_S = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An entry of beat's schedule.

    Attributes:
        task: The name of the task.
        schedule: The schedule as beat writes it.
        period: How far its runs are apart.
        runs: When it was due, and sent.
        run_s: Seconds that a run takes.
    """

    name: str
    task: str
    schedule: str
    period: timedelta
    runs: Sequence[datetime]
    run_s: float
    timezone: str | None = None

    def next_at(self, at: datetime) -> datetime:
        """Return the first run after an instant."""
        last = max((due_at for due_at in self.runs if due_at <= at), default=at)
        return last + self.period

    def described(self, at: datetime) -> list[Any]:
        """Return the entry as beat lists it."""
        next_at = self.next_at(at).isoformat()
        return [self.name, self.task, self.schedule, self.timezone, next_at]


def scheduled_jobs(clock: Clock) -> Iterator[Job]:
    """Yield the runs of two schedules; the second beat has been down for hours."""
    now = clock.now
    missed = (clock.ago(hours=21), clock.ago(hours=20, minutes=40))
    outbox = Entry(
        name="clear outbox",
        task="emails.clear_outbox",
        schedule="every 600s",
        period=10 * MINUTE,
        runs=[
            at
            for at in clock.every(10 * MINUTE, until=now)
            if not missed[0] < at < missed[1]
        ],
        run_s=1.1,
    )
    report = Entry(
        name="daily report",
        task="reports.daily",
        schedule="0 3 * * *",
        timezone="UTC",
        period=DAY,
        runs=_daily(clock, hour=3, until=now),
        run_s=95.0,
    )
    yield from _runs(clock, "shop", "beat-5b8c7d9f6d-zz4kp", [outbox, report], now)
    down_at = clock.ago(hours=2, minutes=35)
    stock = Entry(
        name="stock levels",
        task="stock.sync",
        schedule="every 900s",
        period=15 * MINUTE,
        runs=list(clock.every(15 * MINUTE, until=down_at)),
        run_s=6.0,
    )
    # Due before the outage, so that only the entry above is overdue, at any hour.
    hour = (down_at - HOUR).hour
    inventory = Entry(
        name="inventory",
        task="stock.count",
        schedule=f"30 {hour} * * *",
        timezone="UTC",
        period=DAY,
        runs=_daily(clock, hour=hour, minute=30, until=down_at),
        run_s=210.0,
    )
    entries = [stock, inventory]
    yield from _runs(clock, "warehouse", "stock-beat-6c4b8d7f5-pq7xs", entries, down_at)


def _daily(
    clock: Clock, *, hour: int, minute: int = 0, until: datetime
) -> list[datetime]:
    first = clock.since.replace(hour=hour, minute=minute, second=0, microsecond=0)
    days = (first + n * DAY for n in range(9))
    return [at for at in days if clock.since < at < until]


def _runs(
    clock: Clock, service: str, host: str, entries: Sequence[Entry], until: datetime
) -> Iterator[Job]:
    started_at = (clock.since - HOUR).isoformat()
    latest = until - 20 * MINUTE
    for entry in entries:
        for due_at in entry.runs:
            id = new_id(clock.chance)
            run: dict[str, Any] = {
                **{"entry": entry.name, "id": id, "schedule": entry.schedule},
                **{"timezone": entry.timezone, "due_at": due_at.isoformat()},
                **{"next_at": (due_at + entry.period).isoformat()},
                **{"max_interval_s": MAX_INTERVAL_S, "started_at": started_at},
            }
            if due_at > latest:
                run["entries"] = [each.described(due_at) for each in entries]
            call = Call(
                id=id,
                name=entry.task,
                at=due_at + LATE,
                service=service,
                host=host,
                headers={BEAT: run},
            )
            run_s = entry.run_s * clock.chance.lognormvariate(0, 0.2)
            yield Job(call=call, run_s=run_s)
