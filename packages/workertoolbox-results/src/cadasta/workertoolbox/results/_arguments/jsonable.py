"""Values that every database takes."""

from __future__ import annotations

import json
import math
from typing import Any

#: Deepest nesting that is stored: far beyond what people write, and well within what
#: Python's own JSON encoder takes on any stack.
MAX_DEPTH = 100

#: Longest name or id in characters: within what a B-tree of PostgreSQL can index,
#: which is 2,704 bytes.
MAX_NAME_LENGTH = 500


def jsonable(value: Any, depth: int = 0) -> Any:
    """Return a JSON value that PostgreSQL takes, as near to the original as it can be.

    `jsonb` and `text` refuse NUL and lone surrogates, and JSON has no NaN and no
    infinity: they are written as backslash escapes and as the strings `NaN`,
    `Infinity` and `-Infinity`. What is no JSON, which only a function of `REDACT` or a
    header can bring, becomes its repr.

    Raises:
        ValueError: It is nested deeper than `MAX_DEPTH`.
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
    """Return a text without what PostgreSQL refuses, as `storable` does."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("\0", r"\x00") if "\0" in text else text
