"""JSON of which only the beginning was read."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

#: A bracket, or a string; its end is a group, which is empty if the string is cut off.
_TOKEN = re.compile(r'[\[\]{}]|"(?:[^"\\]++|\\[^u]|\\u[0-9a-fA-F]{4})*+("?)', re.DOTALL)

#: The characters of numbers, `true`, `false`, `null`, `NaN` and `Infinity`.
_LITERAL = "+-.0123456789EINaefilnrstuy"

_UTF8 = codecs.getincrementaldecoder("utf-8")


def decode_prefix(encoded: bytes) -> Any:
    """Return the value of JSON that may be cut off.

    Raises:
        ValueError: It is not JSON, or nothing of it is complete.
    """
    try:
        return json.loads(encoded)
    except ValueError:
        return decode_beginning(encoded)


def decode_beginning(encoded: bytes) -> Any:
    """Return the value of JSON that is cut off anywhere.

    Open lists and objects contain what is complete, and the beginning of an open
    string.

    Raises:
        ValueError: It is not JSON, or nothing of it is complete.
    """
    text = _UTF8().decode(encoded)  # Ignores an incomplete character at the end.
    closing: list[str] = []
    for token in _TOKEN.finditer(text):
        match token[0][0]:
            case "[" | "{" as opening:
                closing.append("]" if opening == "[" else "}")
            case "]" | "}":
                del closing[-1:]
            case _ if not token[1]:
                text = f'{text[: token.end()]}"'
                break
    else:
        text = text.rstrip(_LITERAL).rstrip(" \t\r\n,:")
    end = "".join(reversed(closing))
    try:
        return json.loads(text + end)
    except ValueError:
        return json.loads(f"{text}: null{end}")  # The text ends with a key.
