"""Stored exceptions: JSON objects as Celery stores them, with the place added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cadasta.workertoolbox.results._arguments.cut_json import decode_prefix
from cadasta.workertoolbox.results._arguments.jsonable import jsonable

#: Key of the function in which the exception was raised, such as `export.tasks.fetch`.
#: Celery's own keys are `exc_type`, `exc_module` and `exc_message`.
PLACE = "exc_place"

#: Maximum number of characters of a type, a place and a text.
MAX_NAME = 200
MAX_TEXT = 1000


@dataclass(frozen=True, slots=True)
class StoredError:
    """An exception as it is stored; secrets in it are masked.

    Attributes:
        type: Its class, such as `requests.exceptions.ConnectionError`; without a
            module if it is built in, and None if a task stored other meta data.
        place: The function of the service that raised it, or None.
        text: Type and message, as Python prints them.
    """

    type: str | None
    place: str | None
    text: str


def read_error(encoded: bytes) -> StoredError:
    """Read the result of a failure, or its beginning."""
    try:
        error = jsonable(decode_prefix(encoded))
    except (ValueError, RecursionError):
        error = None  # A pickle of another backend, or nested too deeply.
    error = _original(error)
    message = message_of(error)
    if not isinstance(error, dict) or not isinstance(error.get("exc_type"), str):
        return StoredError(None, None, message[:MAX_TEXT])
    module, kind = error.get("exc_module"), error["exc_type"]
    is_plain = not isinstance(module, str) or module == "builtins"
    place = error.get(PLACE)
    return StoredError(
        (kind if is_plain else f"{module}.{kind}")[:MAX_NAME],
        place[:MAX_NAME] if isinstance(place, str) else None,
        f"{kind}: {message}"[:MAX_TEXT].removesuffix(": "),
    )


def _original(error: Any) -> Any:
    """Return an exception that Celery wrapped because it cannot be pickled."""
    match error:
        case {"exc_type": "UnpickleableExceptionWrapper", "exc_message": [*parts]}:
            names = ("exc_module", "exc_type", "exc_message")
            return {**error, **dict(zip(names, parts, strict=False))}
    return error


def message_of(error: Any) -> str:
    """Return the message of a stored exception.

    Args:
        error: A JSON value: `exc_type` and `exc_message`, or the meta data of a task
            that has stored its failure itself.
    """
    if not isinstance(error, dict) or "exc_message" not in error:
        return str(error)
    parts = error["exc_message"]
    if not isinstance(parts, list):
        return str(parts)
    # Python shows a missing key in quotes.
    show = repr if error.get("exc_type") == "KeyError" else str
    return ", ".join(map(show, parts))
