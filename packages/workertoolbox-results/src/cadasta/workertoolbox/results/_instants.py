"""Parsing of times such as `2h`, `yesterday`, `14:30` and `2026-11-27`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo

from cadasta.workertoolbox.results._ages import parse_age
from cadasta.workertoolbox.results._query_errors import InvalidTime

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

#: Days from midnight of today to that of the named day.
_DAYS = {"today": 0, "yesterday": -1}


def parse_instant(text: str, *, now: datetime, zone: tzinfo | None = None) -> datetime:
    """Return the instant that a text names.

    | text | instant |
    |---|---|
    | `90s`, `2h`, `30d` | this long before `now`; a unit is required |
    | `now` | `now` |
    | `today`, `yesterday`, `2026-11-27` | the beginning of the day |
    | `14:30`, `14:30:05` | the last time that a clock showed this |
    | `2026-11-27T14:30:00+01:00`, `2026-11-27 14:30` | in `zone` without an offset |

    Args:
        now: The current time, with a time zone.
        zone: The time zone of texts without an offset; by default, the local one.

    Raises:
        InvalidTime: The text has another form, or is out of range.
    """
    word = text.strip()
    try:
        found = _named(word.lower(), now, zone) or _written(word, now, zone)
        # At the ends of the calendar, only some zones have a time for it.
        for each in (zone, UTC):
            found.astimezone(each).isoformat()
    except (ValueError, OverflowError, OSError):
        raise InvalidTime(text) from None
    return found


def _named(word: str, now: datetime, zone: tzinfo | None) -> datetime | None:
    if word == "now":
        return now
    if word in _DAYS:
        day = now.astimezone(zone).date() + timedelta(days=_DAYS[word])
        return _local(datetime.combine(day, time()), zone)
    match = _CLOCK.fullmatch(word)
    if match is None:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups())
    clock = time(hour, minute, second)
    today = now.astimezone(zone).date()
    found = _local(datetime.combine(today, clock), zone)
    if found > now:
        yesterday = today - timedelta(days=1)
        found = _local(datetime.combine(yesterday, clock), zone)
    return found


def _written(word: str, now: datetime, zone: tzinfo | None) -> datetime:
    if not word[:4].isdecimal() or not _DATE.match(word):
        return now - parse_age(word)
    return _local(datetime.fromisoformat(word), zone)


def _local(written: datetime, zone: tzinfo | None) -> datetime:
    """Return a time with its zone; one without is in `zone`, or in the local zone."""
    if written.tzinfo is not None:
        return written
    return written.astimezone() if zone is None else written.replace(tzinfo=zone)
