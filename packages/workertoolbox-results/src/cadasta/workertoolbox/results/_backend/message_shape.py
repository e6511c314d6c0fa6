"""The shape of an error's message: the message without its variable parts.

`MAX_LENGTH` bounds the cost for every message.
"""

from __future__ import annotations

import re

#: Maximum number of characters that are read. The beginning says what happened.
MAX_LENGTH = 2000

_WEEKDAY = r"(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?"
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)

#: Patterns of variable parts, and their replacements, in the order of their use.
_VARIABLE = tuple(
    (re.compile(pattern, re.IGNORECASE), placeholder)
    for pattern, placeholder in (
        (r"\b[a-z][a-z0-9+.-]{0,39}://[^\s'\"<>]++", "<url>"),
        # An apostrophe within a word is not a quote.
        (r"(?<!\w)[bru]{0,2}'(?:[^'\\]|\\.|'(?=\w))*+'(?!\w)", "<text>"),
        (r"(?:(?<!\w)[bru]{1,2})?\"(?:[^\"\\]|\\.)*+\"", "<text>"),
        (r"`[^`]*+`|“[^”]*+”|‘[^’]*+’|«[^»]*+»|„[^“”]*+[“”]", "<text>"),
        (r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)*+", "<id>"),
        (r"\b[a-z]:[\\/][^\s'\"<>|,;]++|(?<!\S)\\\\[^\s'\"<>|,;]++", "<path>"),
        (r"(?<![\w/.~])(?:~|\.{1,2})?(?:/[^\s/'\":,;()<>\[\]]++)++/?", "<path>"),
        # A relative path, but not `and/or`.
        (r"(?<![\w./-])[\w.-]++(?:(?:/[\w.-]++){2,}|/[\w-]*+(?:\.\w++)++)/?", "<path>"),
        (
            rf"\b(?:{_WEEKDAY},? )?(?:\d{{1,2}}[ -]{_MONTH}|{_MONTH} \d{{1,2}})\b"
            r"(?:[ ,-]*\d{4})?",
            "<id>",
        ),
        # A word with a digit: a number, an id, a UUID, a time, an address or a version.
        (r"(?<![\w-])[\w-]*?\d[\w-]*+(?:[.:,+/][\w-]*?\d[\w-]*+)*+", "<id>"),
        (r"\b[0-9a-f]{8,}+\b", "<id>"),
        # The number of such parts varies too.
        (r"(<[a-z]+>)(?:(?:\s*,)?\s*\1)++", r"\1"),
    )
)


def message_shape(text: str) -> str:
    """Return the first line of a message with its variable parts replaced.

    These are ids, numbers, UUIDs, hexadecimal numbers, times, paths, URLs, addresses
    and quoted text.
    """
    lines = text.strip()[:MAX_LENGTH].splitlines()
    shape = lines[0] if lines else ""
    for pattern, placeholder in _VARIABLE:
        shape = pattern.sub(placeholder, shape)
    return " ".join(shape.split())
