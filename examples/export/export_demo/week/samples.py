"""Samples of the backlog: how many tasks waited in each minute of the week."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from cadasta.workertoolbox.results._history.backlog import ALL_QUEUES
from cadasta.workertoolbox.results._history.tiers import TIERS, interval_start
from export_demo.week.fleet import Run

_MINUTE = TIERS["minute"]

#: A minute and a queue.
_Key = tuple[datetime, str]


def samples(
    runs: Iterable[Run], *, since: datetime, until: datetime
) -> Iterator[dict[str, Any]]:
    """Yield the rows of `workertoolbox_backlog` for all tiers."""
    minutes = _count(runs, until)
    at = interval_start(since, _MINUTE)
    while at < until:
        minutes.setdefault((at, ALL_QUEUES), [0, 0, 0.0])
        at += _MINUTE
    for tier, length in TIERS.items():
        rows: dict[_Key, dict[str, Any]] = {}
        for (at, queue), (queued, scheduled, oldest_s) in minutes.items():
            start = interval_start(at, length)
            row = rows.setdefault((start, queue), _empty(tier, start, queue))
            row["samples"] += 1
            row["queued_sum"] += queued
            row["queued_max"] = max(row["queued_max"], queued)
            row["scheduled_sum"] += scheduled
            row["scheduled_max"] = max(row["scheduled_max"], scheduled)
            row["oldest_max_s"] = max(row["oldest_max_s"], oldest_s)
        yield from rows.values()


def _count(runs: Iterable[Run], until: datetime) -> dict[_Key, Any]:
    """Return the tasks that waited in each minute: queued, scheduled, oldest age."""
    minutes: dict[_Key, Any] = defaultdict(lambda: [0, 0, 0.0])
    for run in runs:
        call, until_at = run.call, min(run.started_at or until, until)
        if not run.tracked:
            continue
        for queue in (call.queue, ALL_QUEUES):
            for at in _minutes(call.at, min(call.due_at, until_at)):
                minutes[at, queue][1] += 1
            for at in _minutes(call.due_at, until_at):
                counts = minutes[at, queue]
                counts[0] += 1
                counts[2] = max(counts[2], (at - call.due_at).total_seconds())
    return dict(minutes)


def _minutes(since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the full minutes from one instant to another."""
    at = interval_start(since, _MINUTE) + _MINUTE
    while at < until:
        yield at
        at += timedelta(minutes=1)


def _empty(tier: str, at: datetime, queue: str) -> dict[str, Any]:
    counts = ("samples", "queued_sum", "queued_max", "scheduled_sum", "scheduled_max")
    return {
        **{"tier": tier, "at": at, "queue": queue, "oldest_max_s": 0.0},
        **dict.fromkeys(counts, 0),
    }
