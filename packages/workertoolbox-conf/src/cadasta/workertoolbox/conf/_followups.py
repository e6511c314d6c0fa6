"""What is to come after a task, handed on by that task."""

from __future__ import annotations

from typing import Any

from celery import Task


def extract_followups(task: Task[..., Any]) -> dict[str, Any]:
    """Take the callbacks off a running task, for another one that it starts.

    A task that only starts another one hands on with this what was to run after it, as
    in `self.app.send_task("export.pack", **extract_followups(self))`. The callbacks
    then run after that one. Its error callbacks are handed on too, and stay with the
    task, since it can still fail itself. For the rest of a chain or the body of a
    chord use Celery's `self.replace(…)`.

    Args:
        task: A bound task, while it runs.

    Returns:
        Options of `apply_async`: `link` and `link_error`, each a list of signatures,
        or None where there are none.
    """
    request = task.request
    followups = {"link": request.callbacks, "link_error": request.errbacks}
    request.callbacks = None
    return followups
