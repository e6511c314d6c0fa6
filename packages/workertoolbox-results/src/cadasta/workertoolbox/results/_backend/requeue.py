"""Requeue a task whose final state cannot be stored.

With Celery's own backends, the message of such a task is acknowledged or dropped. With
this one, a task that has `acks_late` returns to its queue. Celery requeues a task that
raises `Reject`, but a `Reject` that is raised while a state is stored escapes Celery's
tracer, and only the prefork pool handles it. The backend therefore raises
`FinalStateNotStored`. The tracer reports that as an internal error, through
`Backend.prepare_exception`, which turns it into a `Reject`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery._state import get_current_task
from celery.exceptions import BackendStoreError

from cadasta.workertoolbox.results._backend.retries import may_succeed_later
from cadasta.workertoolbox.results._database.outages import one_line


class FinalStateNotStored(BackendStoreError):
    """A final state cannot be stored, and the task can still be requeued."""


@contextmanager
def requeue_on_outage(request: Any) -> Iterator[None]:
    """Raise an error that requeues the running task if the database is unavailable.

    Args:
        request: The task's request, or None outside a worker.

    Raises:
        FinalStateNotStored: The outage lasts longer than the retries, and the task's
            message is not acknowledged yet. Every other error passes unchanged.
    """
    try:
        yield
    except Exception as error:
        if not may_succeed_later(error) or not _is_unacknowledged(request):
            raise
        # Without the chain of errors, because Celery logs it with each delivery.
        raise FinalStateNotStored(
            f"the final state of task {request.id} cannot be stored; the task is "
            f"requeued: {one_line(error)}"
        ) from None


def _is_unacknowledged(request: Any) -> bool:
    task: Any = get_current_task()
    return (
        task is not None
        and task.acks_late
        and task.request_stack.top is request
        and not request.is_eager
    )
