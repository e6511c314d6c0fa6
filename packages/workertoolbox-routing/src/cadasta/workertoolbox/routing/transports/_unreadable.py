"""The headers of a message that could not be parsed."""

from __future__ import annotations

from typing import Any

from cadasta.workertoolbox.routing._headers import UNREADABLE

#: Maximum number of characters of an error: some errors repeat the whole text that was
#: not parsed.
MAX_ERROR = 300


def unreadable_headers(error: Exception, **details: Any) -> dict[str, Any]:
    """Return headers that mark a message as unreadable, with the error and details."""
    text = f"{type(error).__name__}: {error}"
    return {UNREADABLE: {"error": text[:MAX_ERROR], **details}}
