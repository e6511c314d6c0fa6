"""Parsing of ages such as `30d`."""

from __future__ import annotations

from datetime import timedelta

from cadasta.workertoolbox.results._durations import UNIT_FORM, parse_duration

#: Longest age in days: a hundred years, more than any database holds.
MAX_AGE_DAYS = 36_500


def parse_age(text: object) -> timedelta:
    """Return an age such as `30d`; a unit is required, as ages decide what is deleted.

    Raises:
        ValueError: The value is not an age, or it is out of range.
    """
    stripped = text.strip() if isinstance(text, str) else ""
    try:
        seconds = parse_duration(stripped)
    except ValueError:
        seconds = None
    if seconds is None or not stripped[-1].isalpha():
        raise ValueError(f"{text!r} is not an age; write {UNIT_FORM}, as in 30d")
    if not 0 < seconds <= MAX_AGE_DAYS * 86_400:
        raise ValueError(f"{text!r} is out of range; write 1s to {MAX_AGE_DAYS}d")
    return timedelta(seconds=seconds)
