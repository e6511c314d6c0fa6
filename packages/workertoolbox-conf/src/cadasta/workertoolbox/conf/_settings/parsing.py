"""How the text of an environment variable is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}

#: Seconds of each unit of a duration; a number without one is in seconds.
_UNITS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"\s*(\d*\.?\d+)\s*([a-z]*)\s*")


@dataclass(frozen=True)
class Reader:
    """How a value of one type is read, and what to say when it cannot be.

    Attributes:
        read: Returns the value, or raises a `ValueError`.
        expected: What follows "is no" in an error.
        is_secret: Whether a value may hold credentials where nobody can tell them
            apart.
    """

    read: Callable[[str], Any]
    expected: str = ""
    is_secret: bool = False


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError as error:
        raise ValueError(text) from error


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if not match or match[2] not in _UNITS:
        raise ValueError(text)
    return float(match[1]) * _UNITS[match[2]]


def _whole_seconds(text: str) -> int:
    seconds = _duration(text)
    if not seconds.is_integer():
        raise ValueError(text)
    return int(seconds)


def _list(text: str) -> list[Any]:
    if not text.strip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    items: list[Any] = json.loads(text)
    return items


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


def _anything(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # What begins like JSON was meant as such.
        if text.lstrip().startswith(("{", "[")):
            raise
        return text


#: Readers by the types that `SETTINGS` and `VARIABLES` have.
READERS = {
    "string": Reader(str),
    "str": Reader(str),
    "bytes": Reader(str.encode),
    "any": Reader(
        _anything,
        "JSON, as which it begins; write a whole object or list, or a text",
        is_secret=True,
    ),
    "int": Reader(int, "integer; write digits, as in 10"),
    "float": Reader(float, "number; write digits, as in 0.5"),
    "duration": Reader(
        _duration,
        "duration; write seconds, or a unit, as in 0.5, 500ms, 30s, 5m, 2h",
    ),
    "seconds": Reader(
        _whole_seconds,
        "number of whole seconds; write it, or a unit, as in 30, 30s, 5m",
    ),
    "bool": Reader(_boolean, "boolean; write true or false"),
    "list": Reader(_list, "list; write a,b or a JSON list"),
    "tuple": Reader(lambda text: tuple(_list(text)), "list; write a,b or a JSON list"),
    "dict": Reader(
        _object, 'JSON object; write one, as in {"region": "us-west-2"}', is_secret=True
    ),
}
