"""Conversion of values to JSON that PostgreSQL and SQLite accept."""

from __future__ import annotations

import json
import math
from typing import Any

#: Deepest nesting that is stored: far more than people write, and few enough levels for
#: Python's JSON encoder on a stack of any size.
MAX_DEPTH = 100

#: Longest name or id in characters. PostgreSQL can index values of up to 2,704 bytes.
MAX_NAME_LENGTH = 500


def jsonable(value: Any, depth: int = 0) -> Any:
    """Return the closest JSON value that PostgreSQL accepts.

    `jsonb` and `text` do not accept NUL and lone surrogates, which become backslash
    escapes. JSON has no NaN and no infinity, which become the strings `NaN`, `Infinity`
    and `-Infinity`. A value of another type becomes its repr; only headers and results
    of `REDACT` functions can contain such values.

    Raises:
        ValueError: The value is nested deeper than `MAX_DEPTH`.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    match value:
        case str():
            return jsonable_text(value)
        case None | bool() | int():
            return value
        case dict():
            return {
                jsonable_text(key if isinstance(key, str) else str(key)): jsonable(
                    item, depth + 1
                )
                for key, item in value.items()
            }
        case list() | tuple():
            return [jsonable(item, depth + 1) for item in value]
        case float():
            return value if math.isfinite(value) else json.dumps(value)
    return jsonable_text(repr(value))


def jsonable_text(text: str) -> str:
    """Return a text with NUL and lone surrogates escaped as in `jsonable`."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("\0", r"\x00") if "\0" in text else text
