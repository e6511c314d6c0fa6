"""Texts of durations, such as `2.1 min`."""

from __future__ import annotations

from datetime import datetime

#: The units of durations, with their seconds, and the seconds from which they are used:
#: the shorter unit would be rounded up to 60.0 s, for example.
SHOWN_UNITS = (
    ("d", 86_400, 86_220),
    ("h", 3_600, 3_597),
    ("min", 60, 59.95),
    ("s", 1, 0.9995),
    ("ms", 0.001, 0.0005),
)


def duration_text(seconds: float | None) -> str:
    """Return a duration in its largest unit, such as `3.4 s` or `2.1 min`.

    It is empty if the duration is not known.
    """
    if seconds is None:
        return ""
    for unit, size, first in SHOWN_UNITS:
        if seconds >= first:
            number = seconds / size
            return f"{number:.0f} ms" if unit == "ms" else f"{number:.1f} {unit}"
    return "<1 ms" if seconds > 0 else "0 ms"


def age_text(at: datetime | None, now: datetime) -> str:
    """Return how long ago an instant was, such as `2.1 min ago`; nothing without it."""
    if at is None:
        return ""
    return f"{duration_text(max((now - at).total_seconds(), 0.0))} ago"
