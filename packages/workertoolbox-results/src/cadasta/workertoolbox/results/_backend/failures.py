"""The failures of tasks, where their exceptions are at hand."""

from __future__ import annotations

from typing import Any

from celery import Celery, states
from celery.backends import base

from cadasta.workertoolbox.results._backend.fingerprint import (
    Fingerprint,
    Raised,
    fingerprint,
)
from cadasta.workertoolbox.results._backend.own_keys import OwnKeys


class FailureMixin(base.BaseBackend):
    """Adds the fingerprint of a failure to what is stored.

    The process that ran the task stores its failure, on every pool, with the exception
    and its traceback. A worker's main process stores those of the tasks that it killed,
    lost or does not know, without a traceback.
    """

    app: Celery
    _own_keys: OwnKeys

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Store a state, and for a failure or a retry what identifies the error.

        A failure without a request is not that of a run, but of a step after it.
        """
        if request is not None and state in (states.FAILURE, states.RETRY):
            kwargs["fingerprint"] = self._fingerprint(result, state, request)
        return super().store_result(
            task_id, result, state, traceback, request, **kwargs
        )

    def _fingerprint(self, error: Any, state: str, request: Any) -> Fingerprint | None:
        # The request of a task that the worker does not know has few attributes.
        name = getattr(request, "task", None) or getattr(request, "name", None) or ""
        if not isinstance(error, BaseException):
            # A task may store meta data of a failure itself. One that is retried
            # without an exception has not failed.
            return Fingerprint(name) if state == states.FAILURE else None
        raised = Raised.of(error, state)
        key = self._own_keys.find(raised.error, name)
        module = str(getattr(self.app.tasks.get(name), "__module__", ""))
        return fingerprint(raised, name, module.partition(".")[0], own_key=key)
