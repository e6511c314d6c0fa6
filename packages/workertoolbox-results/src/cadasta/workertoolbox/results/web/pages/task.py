"""The page `/tasks/ID`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._reruns.rules import find_lack
from cadasta.workertoolbox.results._store.operations.journal import PUBLISHED
from cadasta.workertoolbox.results._store.tasks.details import TaskDetails
from cadasta.workertoolbox.results._store.why.evidence import evidence_lines
from cadasta.workertoolbox.results._store.why.reason import Reason
from cadasta.workertoolbox.results._task import failure_text
from cadasta.workertoolbox.results.web.drawing.attempt_times import time_line
from cadasta.workertoolbox.results.web.site import site_of
from cadasta.workertoolbox.results.web.wording.formats import zone_of
from cadasta.workertoolbox.results.web.wording.long_values import MAX_SHOWN, long_value
from cadasta.workertoolbox.results.web.wording.snippets import (
    rerun_command,
    send_task_code,
)
from cadasta.workertoolbox.results.web.wording.traceback_text import (
    Traceback,
    read_traceback,
)


def show(request: Request) -> Response:
    """Return the page of a task."""
    site = site_of(request)
    id = request.path_params["id"]
    found = site.store.details(id)
    reason = site.store.why(found.task.id, zone=zone_of(request.cookies))
    task, is_over = found.task, found.task.status in ENDED
    # The error has a place of its own.
    lines = [line for line in evidence_lines(reason) if line.name != "error"]
    return site.page(
        request,
        "task.html",
        task=task,
        found=found,
        is_over=is_over,
        reason=reason,
        causes=[*_causes(reason)],
        evidence_lines=lines,
        named={line.name for line in lines},
        times={
            "eta": task.eta,
            "expires": found.call.expires,
            "started": task.started_at,
            "ended": task.finished_at,
        },
        error=None if task.status == "SUCCESS" else _error(found),
        traceback=_traceback(task.traceback, task.name),
        tracebacks=[_traceback(each.traceback, task.name) for each in found.attempts],
        time_line=time_line(
            task, found.attempts, is_over=is_over, now=datetime.now(UTC)
        ),
        **_values(found),
        **_rerun(found),
    )


def _causes(reason: Reason) -> Iterator[Reason]:
    """Yield the reasons behind a reason."""
    while reason.because is not None:
        reason = reason.because
        yield reason


def _error(found: TaskDetails) -> str | None:
    """Return the error of a task, or why it was not run."""
    result = found.task.result
    if result is None:
        return None
    return failure_text(result) or (str(result) if found.task.not_run else None)


def _traceback(text: str | None, task: str | None) -> Traceback | None:
    """Return a traceback, or the end of a long one, which is nearest to the error."""
    return read_traceback(text[-MAX_SHOWN:], task) if text else None


def _values(found: TaskDetails) -> dict[str, Any]:
    """Return what the message and the result contain."""
    task, options = found.task, found.call.options
    stamps = {*options.get("stamps", ())}
    headers = task.headers or {}
    parts = {
        "headers": {k: v for k, v in headers.items() if k not in stamps},
        "stamps": {k: v for k, v in headers.items() if k in stamps},
    }
    has_result = task.status in ENDED and _error(found) is None
    is_stored = task.result is not None or task.status == "SUCCESS"
    return {
        "positional": None if task.args is None else long_value(task.args),
        "keywords": None if task.kwargs is None else long_value(task.kwargs),
        "result": (
            long_value(task.result, size=task.result_bytes)
            if has_result and is_stored
            else None
        ),
        **{name: long_value(value) if value else None for name, value in parts.items()},
        "options": {k: v for k, v in _options(found).items() if v is not None},
    }


def _options(found: TaskDetails) -> dict[str, Any]:
    """Return the options of a message that are neither times nor flags, with names."""
    stored = found.call.options
    hard, soft = stored.get("time_limits") or (None, None)
    follows = stored.get("follows")
    return {
        "priority": stored.get("priority"),
        "time limit": None if hard is None else f"{hard:g} s",
        "soft time limit": None if soft is None else f"{soft:g} s",
        "shown as": stored.get("shadow"),
        "ignores result": "yes" if found.call.ignore_result else None,
        "followed by": ", ".join(follows) if follows else None,
    }


def _rerun(found: TaskDetails) -> dict[str, Any]:
    """Return how to run a task again, or why that is not possible."""
    lack = find_lack(found.call)
    if lack is not None:
        return {"lack": lack, "command": None, "code": None}
    again = any(each.state == PUBLISHED for each in found.reruns)
    return {
        "lack": None,
        "command": rerun_command(found.call, again=again),
        "code": send_task_code(found.call),
    }


ROUTES = [Route("/tasks/{id:path}", show, name="task")]
