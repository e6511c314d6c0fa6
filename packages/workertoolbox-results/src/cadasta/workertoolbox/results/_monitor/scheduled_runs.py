"""Reading of what a message of beat says about its run and about all entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from cadasta.workertoolbox.results._arguments.jsonable import (
    MAX_NAME_LENGTH,
    jsonable_text,
)
from cadasta.workertoolbox.results._headers import BEAT
from cadasta.workertoolbox.results._monitor.header_values import (
    FAR,
    parse_instant,
    short_text,
)
from cadasta.workertoolbox.results._schedules.runs import Run

#: Longest time in seconds for which beat may sleep.
_MAX_INTERVAL_S = 7 * 24 * 3600.0

#: Maximum number of entries that are read from one message.
_MAX_ENTRIES = 1000


class ListedEntry(NamedTuple):
    """An entry in a list of all entries; only its name is certain to be known."""

    entry: str
    name: str | None = None
    schedule: str | None = None
    timezone: str | None = None
    next_at: datetime | None = None


class ScheduledRun(NamedTuple):
    """A run of an entry that beat has sent, and the entries that it had then.

    Attributes:
        service: The name of beat's app, or an empty text.
        name: The name of the task.
        origin: The process of beat.
        started_at: When it started.
        max_interval_s: The longest time in seconds that it sleeps.
        entries: All entries; None if the message does not list them.
    """

    service: str
    entry: str
    name: str
    origin: str | None
    started_at: datetime | None
    max_interval_s: float | None
    run: Run
    entries: Sequence[ListedEntry] | None


def find_run(
    headers: Mapping[str, Any],
    *,
    id: str,
    name: str,
    service: str | None,
    sent_at: datetime,
    seen_at: datetime,
) -> ScheduledRun | None:
    """Return the run that a message starts, or None if beat has not described it.

    A retry belongs to the same run. Values of a wrong type count as unknown.
    """
    if (described_run := headers.get(BEAT)) is None:
        return None
    match described_run:
        case {"entry": str(entry), "id": str(described), **given} if (
            entry and described == headers.get("id") and not headers.get("retries")
        ):
            pass
        case _:
            return None

    def instant(value: Any) -> datetime | None:
        return _read_instant(value, seen_at)

    origin = short_text(headers.get("origin"))
    started_at = instant(given.get("started_at"))
    run = Run(
        task_id=id,
        sent_at=sent_at,
        due_at=instant(given.get("due_at")),
        next_at=instant(given.get("next_at")),
        beat=f"{started_at and started_at.isoformat()} {origin}",
        schedule=short_text(given.get("schedule")) or "",
        timezone=short_text(given.get("timezone")),
    )
    return ScheduledRun(
        service=service or "",
        entry=jsonable_text(entry)[:MAX_NAME_LENGTH],
        name=name,
        origin=origin,
        started_at=started_at,
        max_interval_s=_seconds(given.get("max_interval_s")),
        run=run,
        entries=_read_entries(given.get("entries"), seen_at),
    )


def _read_entries(value: Any, seen_at: datetime) -> Sequence[ListedEntry] | None:
    if not isinstance(value, list) or len(value) > _MAX_ENTRIES:
        return None
    found = []
    for item in value:
        match item:
            case [str(entry), *others] if entry and len(others) in (0, 4):
                name, schedule, zone, next_at = others or (None,) * 4
                found.append(
                    ListedEntry(
                        jsonable_text(entry)[:MAX_NAME_LENGTH],
                        *(short_text(name), short_text(schedule), short_text(zone)),
                        next_at=_read_instant(next_at, seen_at),
                    )
                )
            case _:
                return None
    return found


def _read_instant(value: Any, seen_at: datetime) -> datetime | None:
    try:
        return parse_instant(value, seen_at - FAR, seen_at + FAR)
    except (ValueError, TypeError):
        return None


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= _MAX_INTERVAL_S else None
