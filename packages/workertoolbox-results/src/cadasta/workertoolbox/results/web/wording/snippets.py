"""Commands and code that run a task again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pprint import pformat
from typing import Any

from cadasta.workertoolbox.results._reruns.messages import name_of
from cadasta.workertoolbox.results._store.tasks.stored_calls import StoredCall

#: Characters of a line of code.
_WIDTH = 76


def rerun_command(call: StoredCall, *, again: bool) -> str:
    """Return the command that publishes a task again.

    Args:
        again: Whether it has been published again before.
    """
    command = f"celery -A proj tasks rerun {shlex.quote(call.task.id)}"
    return f"{command} --again" if again else command


def send_task_code(call: StoredCall) -> str:
    """Return the Python code that publishes the same task with a new id."""
    arguments = {name: value for name, value in _arguments(call) if value}
    lines = [f"    {name_of(call)!r},"]
    for name, value in arguments.items():
        first, *rest = pformat(value, width=_WIDTH, sort_dicts=False).splitlines()
        lines.append(f"    {name}={first}")
        lines += [f"    {line}" for line in rest]
        lines[-1] += ","
    return "\n".join(["app.send_task(", *lines, ")"])


def _arguments(call: StoredCall) -> Iterator[tuple[str, Any]]:
    task, options = call.task, call.options
    yield "args", task.args
    yield "kwargs", task.kwargs
    yield "queue", task.queue
    yield "priority", options.get("priority")
    yield from zip(
        ("time_limit", "soft_time_limit"), options.get("time_limits", ()), strict=False
    )
    yield "shadow", options.get("shadow")
    yield "ignore_result", call.ignore_result
    stamps = options.get("stamps", ())
    headers = task.headers or {}
    yield "headers", {k: v for k, v in headers.items() if k not in stamps}
