"""Pass the callbacks of a running task on to a task that it starts."""

from __future__ import annotations

from typing import Any

from celery import Task


def extract_followups(task: Task[..., Any]) -> dict[str, Any]:
    """Remove the callbacks from a running task, and return them for another task.

    For a task that only starts another one, as in
    `self.app.send_task("export.pack", **extract_followups(self))`: its callbacks then
    run after that one. Error callbacks are returned too, but stay with the task, which
    can still fail itself. For the rest of a chain or the body of a chord use Celery's
    `self.replace(…)`.

    Args:
        task: A bound task, while it runs.

    Returns:
        The options `link` and `link_error` of `apply_async`: each a list of
        signatures, or None if there are none.
    """
    request = task.request
    followups = {"link": request.callbacks, "link_error": request.errbacks}
    request.callbacks = None
    return followups
