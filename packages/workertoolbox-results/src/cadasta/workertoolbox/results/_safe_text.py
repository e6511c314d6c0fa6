r"""Text of other people that is safe to print and to log.

Names, ids, arguments and errors come from messages, and anyone who can publish can put
anything into them: escape sequences that control a terminal, line breaks that forge a
line of a log, marks that reorder or hide text. Such characters become backslash escapes
like `\x1b`; everything else stays readable.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: Maximum number of characters of one text in a log line.
MAX_LOGGED = 1000

#: Characters that count as printable, but are not visible, or change the one before:
#: fillers, joiners and selectors of variants.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)


def terminal_text(text: str) -> str:
    """Return a text for one line of a terminal."""
    if _is_visible(text):
        return text
    return "".join(map(_visible, text))


def log_text(value: object) -> str:
    """Return a value for one line of a log; a long text is cut off."""
    text = str(value).strip()
    kept = terminal_text(text[:MAX_LOGGED])
    return kept if len(text) <= MAX_LOGGED else f"{kept}…"


def json_text(value: Any) -> str:
    """Return a value as one line of JSON that is safe on a terminal.

    A reader of the JSON gets the exact value.
    """
    text = json.dumps(value, ensure_ascii=False)
    if _is_visible(text):
        return text
    return "".join(
        character if _is_visible(character) else json.dumps(character)[1:-1]
        for character in text
    )


def _visible(character: str) -> str:
    if _is_visible(character):
        return character
    return character.encode("unicode_escape").decode("ascii")


def _is_visible(text: str) -> bool:
    # Most texts are: looking at each character takes ten times as long.
    return text.isprintable() and (text.isascii() or not _INVISIBLE.search(text))
