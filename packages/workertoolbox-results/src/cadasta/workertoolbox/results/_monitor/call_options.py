"""What a message says beyond arguments and headers, as far as a rerun needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kombu.message import Message

from cadasta.workertoolbox.results._arguments.jsonable import (
    MAX_NAME_LENGTH,
    jsonable,
)
from cadasta.workertoolbox.results._arguments.known_secrets import KnownSecrets
from cadasta.workertoolbox.results._arguments.masking import MAPPING_TASKS
from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._headers import DISPLAY_REPRS, RERUN
from cadasta.workertoolbox.results._monitor.own_headers import OwnHeaders
from cadasta.workertoolbox.results._monitor.stored_arguments import (
    Form,
    is_kept_exactly,
)

#: Maximum size in bytes, as JSON, of the steps after a task that are stored with it.
#: The message of each step of a chain has all steps after it.
MAX_NEXT_BYTES = 16 * 1024

#: Parts of a message that are published or called after the task.
_NEXT = ("chain", "chord", "callbacks", "errbacks")

#: How many values Celery puts before the arguments of a step: the result of the task
#: before it, or the request, the error and the traceback for an error callback.
_PREPENDED = (1, 3)

#: The highest priority of RabbitMQ, and the longest time limit in seconds.
_MAX_PRIORITY = 255
_MAX_LIMIT_S = 366 * 86_400


def find_rerun(headers: Mapping[str, Any]) -> str | None:
    """Return the id of the task that a message repeats, or None.

    A task that passes its own headers on to another one does not make that task a rerun
    as well.
    """
    match headers.get(RERUN):
        case {"of": str(of), "id": str(id)} if id == headers.get("id") and of:
            return str(jsonable(of))[:MAX_NAME_LENGTH]
    return None


def find_options(
    message: Message,
    embedded: Mapping[str, Any],
    own: OwnHeaders,
    *,
    redaction: Redaction,
    hidden: list[Any],
) -> dict[str, Any] | None:
    """Return the options of a message that differ from the default, or None.

    Args:
        embedded: The third part of the message's body.
        own: The headers and stamps of users.
        hidden: The values that were masked in the arguments.

    Returns:
        `priority`; `time_limits`, the hard and the soft one in seconds; `shadow`;
        `task`, the name in the message, if another one is stored; `stamps`, the names
        of the headers that are stamps; `headers` if these are not stored whole;
        `follows`, the parts of the message with further steps, such as `chain`; and
        `next` with these parts, or `next_form`, the reason why they are not stored.
    """
    headers: Mapping[str, Any] = message.headers or {}
    name = headers["task"]
    found: dict[str, Any] = {}
    if priority := _priority(message):
        found["priority"] = priority
    if any(limits := _time_limits(headers.get("timelimit"))):
        found["time_limits"] = limits
    if shadow := _shadow(headers, hidden):
        found["shadow"] = shadow
    if name in MAPPING_TASKS:
        found["task"] = name
    if own.stamps:
        found["stamps"] = [*own.stamps]
    if not own.is_whole:
        found["headers"] = Form.REDACTED.value
    parts = {key: embedded[key] for key in _NEXT if embedded.get(key)}
    if parts:
        found["follows"] = [*parts]
        found |= _next(parts, name, headers.get("group_index"), redaction, hidden)
    return found or None


def _next(
    parts: dict[str, Any],
    name: str,
    group_index: Any,
    redaction: Redaction,
    hidden: list[Any],
) -> dict[str, Any]:
    """Return the steps after a task, or why they are not stored."""
    secrets: list[Any] = [*hidden]
    try:
        original = json.dumps(parts)
        if len(original) > MAX_NEXT_BYTES:
            return {"next_form": Form.TRUNCATED.value}
        masked = redaction.masking(name, secrets).mask(json.loads(original))
        shown = KnownSecrets.of(secrets).mask(masked)
        if not _is_json(shown, original) or _hides_arguments(parts, redaction):
            return {"next_form": Form.REDACTED.value}
        kept = jsonable(shown)
    except (TypeError, ValueError, RecursionError):  # A malformed signature, too.
        return {"next_form": Form.CONVERTED.value}
    if json.dumps(kept) != original or not is_kept_exactly(original, kept):
        return {"next_form": Form.CONVERTED.value}
    if isinstance(group_index, int):
        kept["group_index"] = group_index
    return {"next": kept}


def _shadow(headers: Mapping[str, Any], hidden: list[Any]) -> str | None:
    """Return the name for logs, which a task may make of its arguments."""
    shadow = headers.get("shadow")
    if not isinstance(shadow, str) or headers.get(DISPLAY_REPRS):
        return None
    shown = str(jsonable(KnownSecrets.of(hidden).mask_text(shadow)))
    return shown[:MAX_NAME_LENGTH]


def _hides_arguments(value: Any, redaction: Redaction) -> bool:
    """Return whether a step hides arguments that masking shows.

    Its publisher may have given a text to show instead of them. And their positions
    change when Celery puts the result of the task before it in front of them.
    """
    if isinstance(value, list):
        return any(_hides_arguments(each, redaction) for each in value)
    if not isinstance(value, dict):
        return False
    match value:
        case {"options": dict(options)} if _has_reprs(options):
            return True
        case {"task": str(name), "args": [*args], "immutable": immutable, **rest} if (
            not immutable and redaction.rules_of(name).by_position
        ):
            original = json.dumps(args)
            for number in _PREPENDED:
                # Functions of `REDACT` may change values in place.
                given = [*[None] * number, *json.loads(original)]
                shown, _ = redaction.redact(name, given, rest.get("kwargs"))
                if not _is_json(shown[number:], original):
                    return True
    return any(_hides_arguments(each, redaction) for each in value.values())


def _has_reprs(options: Mapping[str, Any]) -> bool:
    """Return whether the options of a step say what to show of its arguments."""
    headers = options.get("headers")
    if isinstance(headers, dict) and DISPLAY_REPRS in headers:
        return True
    return options.keys() & {"argsrepr", "kwargsrepr"} != set()


def _is_json(value: Any, encoded: str) -> bool:
    try:
        return json.dumps(value) == encoded
    except TypeError:
        return False


def _priority(message: Message) -> int | None:
    for source in (message.properties, message.delivery_info):
        value = (source or {}).get("priority")
        if type(value) is int and 0 < value <= _MAX_PRIORITY:
            return value
    return None


def _time_limits(given: Any) -> list[float | None]:
    match given:
        case [hard, soft]:
            return [_limit(hard), _limit(soft)]
    return []


def _limit(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 < value <= _MAX_LIMIT_S else None
