"""Parsing of durations such as `500ms`, `30s` and `7d`."""

from __future__ import annotations

import re

#: Seconds in each unit.
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

_DURATION = re.compile(rf"\s*([0-9]*\.?[0-9]+)\s*({'|'.join(_UNITS)})?\s*")

#: How to write a unit; part of error messages.
UNIT_FORM = f"a number and a unit ({', '.join(_UNITS)})"

#: How to write a duration; error messages show it after "write".
DURATION_FORM = f"seconds, or {UNIT_FORM}, as in 0.5, 500ms, 30s, 2h"


def parse_duration(text: str) -> float:
    """Return a duration in seconds.

    Args:
        text: A number of seconds, or a number followed by one of the units `ms`, `s`,
            `m`, `h`, `d` and `w`. The number must not be negative.

    Raises:
        ValueError: The text is something else.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write {DURATION_FORM}")
    return float(match[1]) * _UNITS[match[2] or "s"]
