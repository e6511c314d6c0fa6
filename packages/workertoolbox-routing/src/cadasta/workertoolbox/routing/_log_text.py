"""Text of others in log lines."""

from __future__ import annotations

import reprlib
from typing import Any

#: Maximum number of characters of a text in a log line.
MAX_LENGTH = 300


class _Repr(reprlib.Repr):
    """A repr whose cost does not grow with the value: three levels, few items."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = 100


_repr = _Repr().repr


def log_text(value: Any, max_length: int = MAX_LENGTH) -> str:
    r"""Return a value as text that is safe in a log line.

    Names, headers, bodies and errors can contain what other people wrote. A line break
    in them would forge a log line, an escape sequence would control the terminal, and
    a bidirectional mark would reorder the text. Characters that are not printable
    become backslash escapes, and long texts are cut off.

    Args:
        value: A text, bytes, or another value, of which the repr is used.
        max_length: Maximum number of characters that are kept.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value[: max_length + 1]).decode("utf-8", "backslashreplace")
    text = value if isinstance(value, str) else _repr(value)
    kept = text[:max_length]
    if not kept.isprintable():
        kept = "".join(map(_printable, kept))
    return kept if len(text) <= max_length else f"{kept}…"


def _printable(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]
