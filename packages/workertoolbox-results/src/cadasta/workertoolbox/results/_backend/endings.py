"""How the end of a task is recorded, by its process or by a worker's main process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery, states
from celery._state import get_current_task
from celery.backends import base
from celery.exceptions import BackendStoreError, Reject, Retry

from cadasta.workertoolbox.results._backend.late_endings import (
    LateEnding,
    late_endings,
)
from cadasta.workertoolbox.results._backend.requeue import (
    FinalStateNotStored,
    requeue_on_outage,
)
from cadasta.workertoolbox.results._backend.retries import no_retries_after


class EndingMixin(base.BaseBackend):
    """The methods by which Celery records how a task ended."""

    app: Celery

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Store a success, without the value if the task ignores its result.

        Raises:
            FinalStateNotStored: The database is unavailable, and the task can be
                requeued.
        """
        with requeue_on_outage(request):
            if request and request.chord:
                # Before the state: with `worker_deduplicate_successful_tasks`, Celery
                # does not run a task again if its success is stored. A crash in between
                # would then leave the body unstarted.
                self.on_chord_part_return(request, state, result)
            if request and (not store_result or request.ignore_result):
                result = None
            self.store_result(task_id, result, state, request=request)

    def mark_as_failure(
        self,
        task_id: str,
        exc: Exception,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Store a failure, even if the task ignores its result.

        Raises:
            FinalStateNotStored: The database is unavailable, and the task can be
                requeued.
        """
        if isinstance(exc, FinalStateNotStored):
            return  # The task is requeued; it has not failed.
        record = partial(
            super().mark_as_failure,
            *(task_id, exc, traceback, request, True, call_errbacks, state),
        )
        if isinstance(exc, BackendStoreError) and _is_recorded_by_main(request):
            with no_retries_after(0):  # The pool process has retried.
                record()
        else:
            self._end(task_id, record, request)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Store that a task was revoked, or that it expired."""
        record = partial(
            super().mark_as_revoked, task_id, reason, request, store_result, state
        )
        self._end(task_id, record, request)

    def mark_as_retry(
        self,
        task_id: str,
        exc: Any,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        state: str = states.RETRY,
    ) -> None:
        """Store that a task is to be retried, with the exception that is the reason.

        If the task names no exception, the one that it is handling is the reason. The
        next message is published already, so an error would be misleading.
        """
        retry = sys.exception()
        if exc is None and isinstance(retry, Retry) and not retry.__suppress_context__:
            exc = retry.__context__
        record = partial(
            super().mark_as_retry, task_id, exc, traceback, request, store_result, state
        )
        late_endings.record(LateEnding(task_id, record))

    def _end(self, task_id: str, record: Callable[[], object], request: Any) -> None:
        if _is_recorded_by_main(request):
            late_endings.record(LateEnding(task_id, record))
            return
        with requeue_on_outage(request):
            record()

    def prepare_exception(self, exc: Any, serializer: str | None = None) -> Any:
        """Return an exception in the form that is stored or passed to the worker."""
        if isinstance(exc, FinalStateNotStored):
            return Reject(str(exc), requeue=True)
        return super().prepare_exception(exc, serializer)


def _is_recorded_by_main(request: Any) -> bool:
    """Return whether a task's state is stored by a process that does not run it."""
    return request is not None and get_current_task() is None
