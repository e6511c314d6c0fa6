"""Moments at which a schedule is due."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from celery.schedules import ParseException, crontab

#: Maximum number of moments that are counted: those of a crontab take 50 microseconds
#: each.
MAX_COUNTED = 1000

_INTERVAL = re.compile(r"every (\d+(?:\.\d+)?)s")


def interval_s(schedule: str) -> float | None:
    """Return the seconds of a schedule such as `every 900s`, or None for others."""
    match = _INTERVAL.fullmatch(schedule)
    seconds = float(match[1]) if match else 0.0
    return seconds if 0 < seconds < math.inf else None


def count_moments(
    schedule: str,
    zone: str | None,
    after: datetime,
    until: datetime,
    *,
    period: timedelta,
) -> int:
    """Count the moments at which a schedule is due after a due moment, up to a time.

    Args:
        schedule: A text as workertoolbox-routing writes it.
        zone: The time zone of a crontab.
        after: A moment at which the schedule is due. It is not counted.
        period: The distance of moments in a schedule that cannot be computed, such as
            that of a sunset.

    Returns:
        At most `MAX_COUNTED`.
    """
    if until <= after:
        return 0
    plan = _parse(schedule, zone)
    if plan is not None:
        count, moment = 0, after
        while count < MAX_COUNTED and (moment := _next(plan, moment)) <= until:
            count += 1
        return count
    seconds = interval_s(schedule) or period.total_seconds()
    if seconds <= 0:
        return 0
    return min(int((until - after).total_seconds() / seconds), MAX_COUNTED)


def _parse(schedule: str, zone: str | None) -> Any:
    """Return the crontab that a text means, or None for other schedules."""
    if len(schedule.split()) != 5:
        return None
    try:
        plan: Any = crontab.from_string(schedule)
        plan.tz = ZoneInfo(zone) if zone else UTC
    except (ValueError, LookupError, OSError, TypeError, ParseException):
        return None
    return plan


def _next(plan: Any, moment: datetime) -> datetime:
    plan.nowfun = lambda: moment
    following: datetime = moment + plan.remaining_estimate(moment)
    return following
