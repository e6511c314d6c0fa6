"""The evidence of a reason as lines of a page or a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from cadasta.workertoolbox.results._store.why.reason import Reason


class Unit(Enum):
    """What a value of the evidence is."""

    #: A `datetime`.
    INSTANT = "instant"

    #: Seconds.
    DURATION = "duration"

    #: Tasks per second.
    RATE = "rate"

    #: A text.
    TEXT = "text"


class Line(NamedTuple):
    """A name, and a value with its unit."""

    name: str
    unit: Unit
    value: Any


def evidence_lines(reason: Reason) -> Iterator[Line]:
    """Yield the evidence of a reason, without zeros and empty values."""
    for key, value in reason.evidence.items():
        if not value and value is not False:
            continue
        name = key.removesuffix("_at").removesuffix("_s").replace("_", " ")
        if key == "per_second":
            yield Line(name, Unit.RATE, value)
        elif key.endswith("_at"):
            yield Line(name, Unit.INSTANT, datetime.fromisoformat(value))
        elif key.endswith("_s"):
            yield Line(name, Unit.DURATION, value)
        else:
            yield Line(name, Unit.TEXT, _text(value))


def _text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}"
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{number} {name}" for name, number in value.items())
    return str(value)
