"""Schedules in words, such as "every day at 02:30"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cadasta.workertoolbox.results._schedules.occurrences import interval_s

_DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split()
_MONTHS = (
    "January February March April May June July August September October November "
    "December"
).split()

#: Units of an interval, the longest first, with their seconds.
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))

#: Maximum number of times of day, or of days, that are listed.
_MAX_LISTED = 4


def in_words(schedule: str) -> str:
    """Return a common schedule in words, and any other one as it is.

    Example:
        >>> in_words("30 2 * * mon-fri")
        'on Monday to Friday at 02:30'
        >>> in_words("every 900s")
        'every 15 minutes'

    Args:
        schedule: A text as workertoolbox-routing writes it: five fields of a crontab,
            `every 900s`, `solar sunset 52.5 13.4` or `at 2026-01-02T03:04:05+00:00`.
    """
    words = None
    if (seconds := interval_s(schedule)) is not None:
        words = _interval(seconds)
    elif len(fields := schedule.split()) == 5:
        words = _crontab(*fields)
    elif match := re.fullmatch(r"solar (\w+) (\S+) (\S+)", schedule):
        words = f"at {match[1].replace('_', ' ')} at {match[2]}, {match[3]}"
    elif match := re.fullmatch(r"at (\S+)", schedule):
        words = f"once at {match[1].replace('T', ' ')}"
    return words or schedule


def _interval(seconds: float) -> str:
    for unit, size in _UNITS:
        number = seconds / size
        if number == int(number):
            return f"every {unit}" if number == 1 else f"every {number:.0f} {unit}s"
    return f"every {seconds:g} seconds"


def _crontab(
    minute: str, hour: str, day_of_month: str, month: str, day_of_week: str
) -> str | None:
    days = _days(day_of_month, month, day_of_week)
    time = _time(minute, hour)
    if days is None or time is None:
        return None
    if time.startswith("at "):
        return f"{days or 'every day'} {time}"
    return f"{time} {days}".rstrip()


def _time(minute: str, hour: str) -> str | None:
    """Return the times of day."""
    hours = _numbers(hour)
    if hours is not None and (minutes := _numbers(minute)) is not None:
        times = [f"{one:02}:{other:02}" for one in hours for other in minutes]
        return f"at {_listed(times)}" if len(times) <= _MAX_LISTED else None
    every = _minutes(minute)
    if hour == "*":
        return every
    if step := _step(hour, 24):
        if minute == "0":
            return f"every {step} hours"
        minutes = _numbers(minute)
        if minutes is not None and len(minutes) == 1:
            return f"every {step} hours at minute {minutes[0]}"
        return None
    match = re.fullmatch(r"(\d+)-(\d+)", hour)
    if every and match:
        return f"{every} from {int(match[1]):02}:00 to {int(match[2]):02}:59"
    return None


def _minutes(minute: str) -> str | None:
    if minute == "*":
        return "every minute"
    if step := _step(minute, 60):
        return f"every {step} minutes"
    numbers = _numbers(minute)
    if numbers == [0]:
        return "every hour"
    if numbers is None or len(numbers) > _MAX_LISTED:
        return None
    return f"every hour at minute {_listed([str(each) for each in numbers])}"


def _days(day_of_month: str, month: str, day_of_week: str) -> str | None:
    """Return the days, an empty text for all days, or None without words for them."""
    parts = []
    if day_of_week != "*":
        names = _names(day_of_week, _DAYS, first=0)
        if names is None or day_of_month != "*":
            return None
        parts.append(
            f"on {names}" if "," in names or " " in names else f"every {names}"
        )
    elif day_of_month != "*":
        numbers = _numbers(day_of_month)
        if numbers is None or len(numbers) > _MAX_LISTED:
            return None
        parts.append(f"on day {_listed([str(each) for each in numbers])}")
        if month == "*":
            parts.append("of every month")
    if month != "*":
        names = _names(month, _MONTHS, first=1)
        if names is None:
            return None
        parts.append(f"of {names}" if day_of_month != "*" else f"in {names}")
        if not parts[:-1]:
            parts.insert(0, "every day")
    return " ".join(parts)


def _names(field: str, names: Sequence[str], *, first: int) -> str | None:
    """Return the names of days or months in a field."""
    shown = []
    for part in field.lower().split(","):
        ends = [_name(end, names, first) for end in part.split("-")]
        if len(ends) > 2 or None in ends:
            return None
        shown.append(" to ".join(map(str, ends)))
    return _listed(shown) if len(shown) <= _MAX_LISTED else None


def _name(text: str, names: Sequence[str], first: int) -> str | None:
    if text.isdecimal() and first <= int(text) < first + len(names):
        return names[int(text) - first]
    found = [each for each in names if each[:3].lower() == text[:3]]
    return found[0] if found and found[0].lower().startswith(text) else None


def _numbers(field: str) -> list[int] | None:
    """Return the numbers in a list such as `0,30`, or None for other fields."""
    parts = field.split(",")
    return sorted(map(int, parts)) if all(map(str.isdecimal, parts)) else None


def _step(field: str, size: int) -> int | None:
    """Return n if a field is `*/n` and the steps are all of the same length."""
    match = re.fullmatch(r"\*/(\d+)", field)
    step = int(match[1]) if match else 0
    return step if step > 1 and size % step == 0 else None


def _listed(items: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1])))
