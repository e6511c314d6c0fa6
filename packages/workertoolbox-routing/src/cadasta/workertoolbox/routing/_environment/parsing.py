"""Parse the text of environment variables by the type of their setting."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cadasta.workertoolbox.routing._environment.durations import (
    DURATION_FORM,
    parse_duration,
)

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


@dataclass(frozen=True)
class Parser:
    """How the text of one type is parsed, and what to say if it cannot be.

    Attributes:
        parse: Returns the value, or raises `ValueError`.
        problem: What an error says about a text that cannot be parsed, after the name
            of the variable.
        is_secret: Whether a text may contain credentials that `mask_url` does not
            find. If so, errors do not show it.
    """

    parse: Callable[[str], Any]
    problem: str = ""
    is_secret: bool = False


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError as error:
        raise ValueError(text) from error


def _whole_seconds(text: str) -> int:
    seconds = parse_duration(text)
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
        # A text that starts like JSON is meant to be JSON.
        if text.lstrip().startswith(("{", "[")):
            raise
        return text


_LIST_PROBLEM = "is not a list; write a,b or a JSON list"

#: Parsers by the types of `ROUTING_TYPES`, and of the settings of `Config`.
PARSERS = {
    "string": Parser(str),
    "str": Parser(str),
    "bytes": Parser(str.encode),
    "any": Parser(
        _anything,
        "looks like JSON but is incomplete or malformed; write a whole object or list, "
        "or a text that does not start with { or [",
        is_secret=True,
    ),
    "int": Parser(int, "is not an integer; write digits, as in 10"),
    "float": Parser(float, "is not a number; write digits, as in 0.5"),
    "duration": Parser(parse_duration, f"is not a duration; write {DURATION_FORM}"),
    "seconds": Parser(
        _whole_seconds,
        "is not a whole number of seconds; write a number, with or without a unit, as "
        "in 30, 30s, 5m",
    ),
    "bool": Parser(_boolean, "is not a boolean; write true or false"),
    "list": Parser(_list, _LIST_PROBLEM),
    "tuple": Parser(lambda text: tuple(_list(text)), _LIST_PROBLEM),
    "dict": Parser(
        _object,
        'is not a JSON object; write one, as in {"region": "us-west-2"}',
        is_secret=True,
    ),
}
