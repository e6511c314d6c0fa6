"""The message of a task that is published again."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cadasta.workertoolbox.results._headers import RERUN
from cadasta.workertoolbox.results._store.tasks.stored_calls import StoredCall

#: The namespace of the new ids.
_NAMESPACE = uuid.UUID("6f0c9c52-6a39-5d3b-8f0e-0d1d5f2f7a11")


class Call(NamedTuple):
    """The arguments of `app.send_task`."""

    name: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]


def new_id(operation_id: str, task_id: str) -> str:
    """Return the id of a rerun; it is always the same within an operation."""
    return str(uuid.uuid5(_NAMESPACE, f"{operation_id}\0{task_id}"))


def rerun_header(operation_id: str, task_id: str) -> dict[str, Any]:
    """Return the header that links a rerun to the task that it repeats."""
    own_id = new_id(operation_id, task_id)
    return {RERUN: {"of": task_id, "id": own_id, "operation": operation_id}}


def make_call(call: StoredCall, operation_id: str, further: Mapping[str, Any]) -> Call:
    """Return the call that publishes a task again.

    The arguments are in the form in which kombu encodes them, so that the body of the
    message is the same as that of the first one: a datetime is still a datetime.

    Args:
        call: The task, with whole arguments and a declared queue.
        further: Further options of `app.send_task`.
    """
    task, stored, now = call.task, call.options, datetime.now(UTC)
    options: dict[str, Any] = {
        "task_id": new_id(operation_id, task.id),
        # Options of the task's class would win over the queue alone. Only this queue
        # gets the task, even if the first message went to several.
        "queue": task.queue,
        "exchange": "",
        "routing_key": task.queue,
        # As the first message. Another serializer would not decode the arguments.
        "serializer": "json",
        "ignore_result": call.ignore_result,
        "headers": _headers(call) | rerun_header(operation_id, task.id),
        **further,
    }
    for name, instant in (("eta", task.eta), ("expires", call.expires)):
        if instant is not None and instant > now:
            options[name] = instant
    for name in ("priority", "shadow"):
        if name in stored:
            options[name] = stored[name]
    for name, limit_s in zip(
        ("time_limit", "soft_time_limit"), stored.get("time_limits", ()), strict=False
    ):
        if limit_s is not None:
            options[name] = limit_s
    return Call(name_of(call), task.args, task.kwargs, options)


def name_of(call: StoredCall) -> str:
    """Return the name in the message of a task."""
    return str(call.options.get("task", call.task.name))


def _headers(call: StoredCall) -> dict[str, Any]:
    """Return the headers of users, with stamps in the form of Celery's messages."""
    given = call.task.headers or {}
    names = call.options.get("stamps", ())
    headers = {name: value for name, value in given.items() if name not in names}
    if stamps := {name: given[name] for name in names if name in given}:
        headers |= {"stamps": stamps, "stamped_headers": [*stamps]}
    return headers
