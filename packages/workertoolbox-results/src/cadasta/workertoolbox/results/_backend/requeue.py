"""A task whose end cannot be stored goes back to its queue, where `acks_late` says so.

Celery itself drops its message, or acknowledges it. What it does requeue is a `Reject`;
but one that is raised while an end is stored leaves the tracer, and only the prefork
pool takes it there. So an error is raised that the tracer takes for one of its own, and
the backend has it shown to the worker as a `Reject`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery._state import get_current_task
from celery.exceptions import BackendStoreError
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.engine import is_outage


class EndNotStored(BackendStoreError):
    """The end of a task whose message can still be requeued."""


@contextmanager
def requeued_in_an_outage(request: Any) -> Iterator[None]:
    """Tell apart that the end of a running task cannot be stored.

    Raises:
        EndNotStored: An outage outlasts the retries, and the message of the task is not
            acknowledged yet.
    """
    try:
        yield
    except (BackendStoreError, DBAPIError) as error:
        outage = isinstance(error, BackendStoreError) or is_outage(error)
        if not outage or not _is_unacknowledged(request):
            raise
        reason = f"the end of task {request.id} cannot be stored; it is requeued"
        raise EndNotStored(reason) from error


def _is_unacknowledged(request: Any) -> bool:
    task: Any = get_current_task()
    return (
        task is not None
        and task.acks_late
        and task.request_stack.top is request
        and not request.is_eager
    )
