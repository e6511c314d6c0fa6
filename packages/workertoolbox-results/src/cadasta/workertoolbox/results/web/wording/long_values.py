"""Values of tasks as texts: short ones on one line, long ones folded and cut off."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

#: Characters and lines from which a value is folded.
_FOLDED_FROM = 4_000
_FOLDED_LINES = 30

#: Characters after which a value is cut off.
MAX_SHOWN = 64 * 1024

#: Characters of a line.
_WIDTH = 88


@dataclass(frozen=True, slots=True)
class LongValue:
    """A value as a page shows it.

    Attributes:
        text: JSON, or the beginning of it.
        size: Bytes of the whole value as JSON.
        is_cut: Whether the text is only a beginning.
        is_folded: Whether it is long.
    """

    text: str
    size: int
    is_cut: bool = False
    is_folded: bool = False


def long_value(value: Any, *, size: int | None = None) -> LongValue:
    """Return a JSON value as a page shows it.

    Args:
        size: Bytes of the whole, if the value is only its beginning.
    """
    text = json.dumps(value, ensure_ascii=False)
    whole = size or len(text.encode("utf-8", "replace"))
    if len(text) > _WIDTH:
        text = json.dumps(value, ensure_ascii=False, indent=2)
    is_cut = size is not None or len(text) > MAX_SHOWN
    is_long = len(text) > _FOLDED_FROM or text.count("\n") > _FOLDED_LINES
    return LongValue(text[:MAX_SHOWN], whole, is_cut, is_long or is_cut)
