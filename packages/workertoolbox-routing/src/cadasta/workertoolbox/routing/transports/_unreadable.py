"""What arrives and is no message: how a consumer, and the monitor, get to know it."""

from __future__ import annotations

from typing import Any

#: The header of what could not be read. Its value has the `error`, and what else is
#: known; the results package has the same name (the two do not import each other).
UNREADABLE = "workertoolbox_unreadable"

#: Most characters of an error: some repeat all that they could not read.
MAX_ERROR = 300


def unreadable(error: Exception, **known: Any) -> dict[str, Any]:
    """Return the headers of what could not be read."""
    text = f"{type(error).__name__}: {error}"
    return {UNREADABLE: {"error": text[:MAX_ERROR], **known}}
