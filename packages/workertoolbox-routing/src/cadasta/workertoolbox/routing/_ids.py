"""Ids that every broker, the monitor and the result backend can store."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from cadasta.workertoolbox.routing._errors import InvalidID

#: Longest id in characters: the length of the columns of Celery's result tables.
MAX_LENGTH = 155

#: Longest id in bytes: the length of a short string of AMQP, as which RabbitMQ gets it.
MAX_BYTES = 255

#: Options of `apply_async` by the names of the headers with their values.
_OPTIONS = {
    "id": "task_id",
    "root_id": "root_id",
    "parent_id": "parent_id",
    "group": "group_id",
}


def check_message_ids(headers: dict[str, Any], embedded: Any) -> None:
    """Convert each `UUID` to a string, in place, and refuse what cannot be stored.

    Args:
        headers: The headers of a task message of protocol 2.
        embedded: The third part of its body: the callbacks, the rest of the chain and
            the body of the chord.

    Raises:
        InvalidID: An id cannot be stored.
    """
    headers["id"] = storable_id("task_id", headers["id"])
    for header, option in _OPTIONS.items():
        value = headers.get(header)
        if value is not None and header != "id":
            headers[header] = storable_id(option, value) if value != "" else None
    for options in _options_of_steps(embedded):
        for option in _OPTIONS.values():
            if options.get(option):
                options[option] = storable_id(option, options[option])


def storable_id(option: str, value: Any) -> str:
    """Return an id as a string.

    Args:
        option: Name of the option with the id, for the error message.
        value: A string or a `UUID`.

    Raises:
        InvalidID: The id has another type, is empty or too long, or has a character
            that PostgreSQL refuses.
    """
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str):
        raise InvalidID(option, reprlib.repr(value), "is not a string; write one")
    if not value:
        raise InvalidID(option, repr(value), "is empty; leave it out")
    if "\0" in value or not _is_unicode(value):
        raise InvalidID(
            option,
            reprlib.repr(value),
            "has a NUL or a lone surrogate, which databases refuse; remove it",
        )
    if len(value) > MAX_LENGTH or len(value.encode()) > MAX_BYTES:
        raise InvalidID(
            option,
            reprlib.repr(value),
            f"has {len(value)} characters, {len(value.encode())} bytes in UTF-8; "
            f"shorten it to {MAX_LENGTH} characters and {MAX_BYTES} bytes",
        )
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _options_of_steps(embedded: Any) -> Iterator[dict[str, Any]]:
    """Yield the options of every signature in the embedded part of a body."""
    waiting = [embedded]
    while waiting:
        match waiting.pop():
            case {"task": _, "options": dict() as options, **signature}:
                yield options
                waiting.append(options)
                match signature.get("kwargs"):
                    case {"tasks": tasks}:
                        waiting.append(tasks)
                    case {"header": header, "body": body}:
                        waiting.extend((header, body))
            case dict() as steps:
                names = ("callbacks", "errbacks", "chain", "chord", "link")
                found = (steps.get(name) for name in (*names, "link_error"))
                waiting.extend(value for value in found if value)
            case list() | tuple() as members:
                waiting.extend(members)
