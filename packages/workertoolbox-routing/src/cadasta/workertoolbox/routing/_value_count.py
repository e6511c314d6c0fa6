"""The number of values in JSON, counted before it is decoded."""

from __future__ import annotations

import re

from cadasta.workertoolbox.routing._size_limits import MAX_VALUES, MAX_VALUES_PER_BYTE

#: What a value begins with or follows, or a string, which may contain the same.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{,]', re.DOTALL)

#: Maximum number of tokens of a value: a comma, a key, and a text.
_TOKENS_PER_VALUE = 3


def max_values(received_bytes: int) -> int:
    """Return how many values a body may have that had a size when it was received.

    The monitor refuses more bodies: it only records tasks, and a worker that refuses
    one loses it.
    """
    return max(MAX_VALUES, received_bytes * MAX_VALUES_PER_BYTE)


def has_more_values(body: bytes, limit: int) -> bool:
    """Return whether JSON has more values than a limit."""
    # Most bodies have so few of these characters, in strings or not, that counting them
    # is enough.
    if sum(body.count(character) for character in (b",", b"[", b"{")) <= limit:
        return False
    values = 0
    for tokens, token in enumerate(_TOKEN.finditer(body)):
        values += body[token.start()] != ord('"')
        if values > limit or tokens > limit * _TOKENS_PER_VALUE:
            return True
    return False
