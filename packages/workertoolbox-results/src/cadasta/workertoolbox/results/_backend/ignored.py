"""Tasks that end by `Ignore` or `Reject`, for which Celery stores no state."""

from __future__ import annotations

from functools import partial
from traceback import walk_tb
from typing import Any

from celery import Task, states
from celery._state import get_current_worker_task
from celery.backends import base
from celery.exceptions import Reject
from celery.signals import after_task_publish, task_postrun

from cadasta.workertoolbox.results._backend.deferred_starts import DeferredStarts
from cadasta.workertoolbox.results._backend.late_endings import (
    LateEnding,
    late_endings,
)


class IgnoredMixin(base.BaseBackend):
    """The methods that record tasks which Celery calls ignored or rejected."""

    _deferred_starts: DeferredStarts

    def mark_as_ignored(
        self, task_id: str, error: Any, state: str, request: Any
    ) -> None:
        """Store the end of a task that raised `Ignore` or `Reject`, with the reason.

        A state that the task has stored itself stays. `get()` waits on, as it does with
        every backend of Celery.
        """
        reason = getattr(error, "reason", error)
        text = None if reason is None else str(reason) or None
        record = partial(self.store_result, task_id, text, state, request=request)
        late_endings.record(LateEnding(task_id, record))

    def store_pending_start(self, task_id: str) -> None:
        """Store the start of a task, if it is not stored yet."""
        self._deferred_starts.write(task_id)


@task_postrun.connect
def _store_end(
    sender: Task[..., Any],
    task_id: str,
    task: Task[..., Any],
    state: str | None,
    retval: Any,
    **_: object,
) -> None:
    if state not in (states.IGNORED, states.REJECTED):
        return
    backend = task.backend
    if not isinstance(backend, IgnoredMixin) or task.request.is_eager:
        return
    end = _end_of(task, retval)
    if end is not None:
        backend.mark_as_ignored(task_id, retval, end, task.request)
    elif isinstance(retval, Reject) and not getattr(retval, "requeue", False):
        # The worker's main process is about to store a failure.
        backend.store_pending_start(task_id)


@after_task_publish.connect
def _note_own_id(sender: Any, headers: Any, **_: object) -> None:
    """Note that the running task publishes a message with its own id."""
    task: Any = get_current_worker_task()
    if task is not None and headers.get("id") == task.request.id:
        task.request.workertoolbox_published_again = True


def _end_of(task: Task[..., Any], error: Any) -> str | None:
    """Return the state to store for a task that raised an error, or None.

    There is none for a task that runs again under its id: because it was replaced,
    published again, or returned to its queue. Celery itself stores a failure for a
    rejected task that is not requeued.
    """
    request = task.request
    if getattr(request, "workertoolbox_published_again", False):
        return None
    if isinstance(error, Reject):
        # A message that was acknowledged before the run is not requeued.
        is_lost = getattr(error, "requeue", False) and not task.acks_late
        return states.REJECTED if is_lost else None
    return None if _is_by_replace(error) else states.IGNORED


def _is_by_replace(error: BaseException | None) -> bool:
    """Return whether `Task.replace` raised an error, or the one that it is due to.

    If a workflow replaces a task, no message of the task says so: the id of the task
    goes to one of the later steps.
    """
    while error is not None:
        for frame, _ in walk_tb(error.__traceback__):
            if frame.f_code is Task.replace.__code__:
                return True
        error = error.__context__
    return False
