"""Reading of values from the headers of task messages."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cadasta.workertoolbox.results._arguments.jsonable import (
    MAX_NAME_LENGTH,
    jsonable_text,
)
from cadasta.workertoolbox.results._monitor.size_limits import MAX_REASON_LENGTH
from cadasta.workertoolbox.results._monitor.unreadable import UnreadableMessage

#: Largest distance of times from the receipt. Databases, time zones and commands cannot
#: represent every time, and an ETA of `datetime.max` means "never".
FAR = timedelta(days=36_500)


def read_name(headers: Mapping[str, Any], key: str) -> str:
    """Return a header that must be a text.

    Raises:
        UnreadableMessage: It is not, or is longer than a name may be.
    """
    value = headers.get(key)
    if not isinstance(value, str) or not value:
        raise UnreadableMessage(
            f"header {key!r} must be a non-empty string, got {reprlib.repr(value)}"
        )
    return checked_name(key, value)


def checked_name(key: str, value: str) -> str:
    """Return a text in the form in which it can be stored.

    Raises:
        UnreadableMessage: It is longer than a name may be.
    """
    name = jsonable_text(value)
    if len(name) > MAX_NAME_LENGTH:
        raise UnreadableMessage(
            f"header {key!r} has {len(name)} characters, more than the limit of "
            f"{MAX_NAME_LENGTH}"
        )
    return name


def find_name(headers: Mapping[str, Any], key: str) -> str | None:
    """Return a header that must be a text, or None without it."""
    return None if headers.get(key) is None else read_name(headers, key)


def find_text(headers: Mapping[str, Any], key: str) -> str | None:
    """Return the beginning of a header of any type as text, or None without it."""
    value = headers.get(key)
    return None if value is None else jsonable_text(str(value))[:MAX_REASON_LENGTH]


def short_text(value: Any) -> str | None:
    """Return a text as long as a name may be, or None for an empty or another value."""
    if not isinstance(value, str) or not value:
        return None
    return jsonable_text(value)[:MAX_NAME_LENGTH]


def read_count(headers: Mapping[str, Any], key: str) -> int:
    """Return a header that must be a number, or 0 without it."""
    value = headers.get(key) or 0
    if not isinstance(value, int) or not 0 <= value < 2**31:
        raise UnreadableMessage(
            f"header {key!r} must be an integer from 0 to 2147483647, got "
            f"{reprlib.repr(value)}"
        )
    return int(value)


def find_time_limit(headers: Mapping[str, Any]) -> float | None:
    """Return the hard time limit in seconds: the first of two limits in the header."""
    match headers.get("timelimit"):
        case [int() | float() as limit_s, *_] if 0 < limit_s < FAR.total_seconds():
            return float(limit_s)
    return None


def find_instant(
    headers: Mapping[str, Any], key: str, first: datetime, last: datetime
) -> datetime | None:
    """Return the instant in a header, as `parse_instant`, or None without it.

    Raises:
        UnreadableMessage: The header is not a time.
    """
    value = headers.get(key)
    if value is None:
        return None
    try:
        return parse_instant(value, first, last)
    except (ValueError, TypeError) as error:
        raise UnreadableMessage(
            f"header {key!r} must be a time in ISO 8601, got {reprlib.repr(value)}"
        ) from error


def parse_instant(value: Any, first: datetime, last: datetime) -> datetime:
    """Return an instant, or the nearest one between the first and the last.

    Raises:
        TypeError: The value is not a text.
        ValueError: The text is not a time in ISO 8601.
    """
    instant = datetime.fromisoformat(value)
    # Celery leaves out the time zone only if the app has `enable_utc` off.
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    # Not converted to UTC first: the first and the last day of the calendar may be
    # outside of it in another time zone.
    return min(max(aware, first), last).astimezone(UTC)
