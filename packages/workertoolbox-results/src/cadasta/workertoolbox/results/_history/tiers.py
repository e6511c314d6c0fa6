"""The intervals by which figures are kept: minutes, hours and days in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

#: The length of an interval of each tier, shortest first.
TIERS: Mapping[str, timedelta] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}

#: How long the intervals of each tier are kept.
KEEP: Mapping[str, timedelta] = {
    "minute": timedelta(days=7),
    "hour": timedelta(days=90),
    "day": timedelta(days=3652),
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def interval_start(at: datetime, length: timedelta) -> datetime:
    """Return the start of the interval that contains an instant.

    Args:
        length: Length of the intervals, which are counted from the start of 1970.
    """
    at = at.astimezone(UTC)
    return at - (at - _EPOCH) % length


def interval_end(at: datetime, length: timedelta) -> datetime:
    """Return the start of the first interval that begins at or after an instant."""
    at = at.astimezone(UTC)
    return at + (_EPOCH - at) % length
