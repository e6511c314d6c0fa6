"""Check of a task message before Celery accepts it.

A worker passes the headers and the body of a message to code that expects what Celery
publishes. Some values raise an error only after the worker has accepted the message:
when it is pickled for a child process, when a timer is set, or when a failure is
recorded. Such an error ends the worker, and the broker gives the message to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from celery.app.task import Context

from cadasta.workertoolbox.routing._log_text import log_text

#: Deepest nesting of arguments, headers and properties. Pickling and encoding as JSON
#: take two of Python's 1,000 stack frames for each level; the rest is for Celery's own
#: and for those of instrumentation.
MAX_DEPTH = 350

#: Largest count in a header, as in the monitor's tables.
MAX_COUNT = 2**31 - 1

#: A tuple, because a union would be made again for each value.
_CONTAINERS = (dict, list, tuple)


class _Invalid(ValueError):
    """A value is not what Celery publishes; the text says what it must be."""


def find_problem(message: Any) -> str | None:
    """Return what is wrong with a task message, or None.

    Celery itself logs and rejects a message that names no task.
    """
    try:
        body = message.payload
    except Exception as error:
        return f"the body cannot be decoded: {log_text(str(error))}"
    headers = message.headers
    if isinstance(body, dict):  # Celery's protocol 1, or a mixture of both
        headers = {**body, **headers}
    if "task" not in headers:
        return None
    try:
        _check_required(headers)
        _check_fields(headers)
        for name, check in _PROPERTIES.items():
            if (value := message.properties.get(name)) is not None:
                check(name, value)
        _check_body(body)
        _check_nesting(message, body)
    except _Invalid as invalid:
        return str(invalid)
    return None


def _check_required(headers: Mapping[str, Any]) -> None:
    for name, check in _REQUIRED.items():
        check(name, headers.get(name))


def _check_fields(fields: Mapping[str, Any]) -> None:
    if not _METHODS.isdisjoint(fields):
        name = min(_METHODS.intersection(fields))
        raise _Invalid(f"{name!r} would replace a method of Celery's request")
    for name, value in fields.items():
        if value is not None and name in _CHECKS:
            _CHECKS[name](name, value)


def _check_body(body: Any) -> None:
    match body:
        case dict():
            return
        case [_, _, None]:
            return
        case [_, _, dict() as embedded]:
            if names := embedded.keys() & _SET_BY_WORKERS:
                raise _Invalid(f"the body must not set {min(names)!r}")
            _check_fields(embedded)
        case [_, _, _]:
            raise _Invalid("the third item of the body must be an object")
        case _:
            raise _Invalid("the body must be a list of arguments, keywords and options")


def _check_nesting(message: Any, body: Any) -> None:
    raw = message.body
    begin = ("[", "{") if isinstance(raw, str) else (b"[", b"{")
    # Counting takes a hundredth of the time of looking at each value.
    if sum(map(raw.count, begin)) > MAX_DEPTH and _is_deep(body):
        raise _Invalid(f"the body is nested deeper than {MAX_DEPTH} levels")
    if _is_deep([message.headers, message.properties]):
        raise _Invalid(f"the headers are nested deeper than {MAX_DEPTH} levels")


def _is_deep(value: Any) -> bool:
    """Return whether a value is nested deeper than allowed, level by level."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for each in level
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, _CONTAINERS)
        ]
        if not level:
            return False
    return True


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _must_be(name, "a string", value)


def _label(name: str, value: Any) -> None:
    _text(name, value)
    if not value.isprintable():
        raise _must_be(name, "printable text", value)


def _count(name: str, value: Any) -> None:
    if not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise _must_be(name, f"an integer from 0 to {MAX_COUNT}", value)


def _number(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or not _is_finite(value):
        raise _must_be(name, "a finite number", value)


def _flag(name: str, value: Any) -> None:
    if not isinstance(value, int):
        raise _must_be(name, "true or false", value)


def _mapping(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise _must_be(name, "an object", value)


def _texts(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _must_be(name, "a list of strings", value)


def _time_limits(name: str, value: Any) -> None:
    if not value:
        return
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise _must_be(name, "two numbers", value)
    for limit in value:
        if limit is not None:
            _number(name, limit)


def _signature(name: str, value: Any) -> None:
    _mapping(name, value)
    _check_fields(value)
    if not isinstance(value.get("task"), str):
        raise _must_be(name, "a signature, which names a task", value)
    for key, kinds in _PARTS_OF_SIGNATURES.items():
        part = value.get(key)
        if part is not None and not isinstance(part, kinds):
            raise _Invalid(f"{key!r} in {name!r} is invalid: {log_text(part)}")
    options = value.get("options") or {}
    _check_fields(options)
    for key in ("task_id", "group_id"):
        if options.get(key) is not None:
            _text(key, options[key])


def _signatures(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise _must_be(name, "a list of signatures", value)
    for signature in value:
        _signature(name, signature)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can represent
        return False


def _must_be(name: str, kind: str, value: Any) -> _Invalid:
    return _Invalid(f"{name!r} must be {kind}, got {log_text(value)}")


_REQUIRED: dict[str, Callable[[str, Any], None]] = {"task": _text, "id": _label}

#: Checks of headers, and of the keys of the body's options, which replace headers.
_CHECKS: dict[str, Callable[[str, Any], None]] = {
    **_REQUIRED,
    **dict.fromkeys(("argsrepr", "kwargsrepr", "lang", "meth", "origin"), _text),
    **dict.fromkeys(("shadow", "group", "root_id", "parent_id"), _text),
    **dict.fromkeys(("group_index", "replaced_task_nesting", "retries"), _count),
    **dict.fromkeys(("time_limit", "soft_time_limit"), _number),
    **dict.fromkeys(("callbacks", "errbacks", "chain"), _signatures),
    **dict.fromkeys(("headers", "stamps"), _mapping),
    "chord": _signature,
    "ignore_result": _flag,
    "stamped_headers": _texts,
    "timelimit": _time_limits,
}

_PROPERTIES: dict[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(("correlation_id", "reply_to"), _text),
    "priority": _count,
}

_PARTS_OF_SIGNATURES: dict[str, Any] = {
    "args": list,
    "kwargs": dict,
    "options": dict,
    "subtask_type": str,
}

#: What a worker adds to the headers; the body's options would replace it.
_SET_BY_WORKERS = frozenset(
    {
        *("args", "kwargs", "delivery_info", "properties", "hostname", "is_eager"),
        *("id", "task", "called_directly", "reply_to", "correlation_id"),
    }
)

#: Celery's request takes every header as an attribute, which would replace a method.
_METHODS = frozenset(
    name
    for name, value in vars(Context).items()
    if callable(value) or isinstance(value, property) or name.startswith("__")
) | {"_children"}
