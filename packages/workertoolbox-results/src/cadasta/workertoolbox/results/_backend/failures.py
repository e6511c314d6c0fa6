"""Fingerprints for the failures and retries that a process stores."""

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
    """Adds the fingerprint of a failure to its stored state.

    On every pool, the process that ran the task stores its failure, with the exception
    and its traceback. A worker's main process stores the failures of tasks that it
    killed, that it lost, or that are not registered, without a traceback.
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
        """Store a state, with the fingerprint of a failure or a retry.

        A failure without a request does not belong to a run, but to a step after it.
        """
        if request is not None and state in (states.FAILURE, states.RETRY):
            kwargs["fingerprint"] = self._fingerprint(result, state, request)
        return super().store_result(
            task_id, result, state, traceback, request, **kwargs
        )

    def _fingerprint(self, error: Any, state: str, request: Any) -> Fingerprint | None:
        # The request of a task that is not registered has few attributes.
        name = getattr(request, "task", None) or getattr(request, "name", None) or ""
        if not isinstance(error, BaseException):
            # A task may store meta data of a failure itself. A retry without an
            # exception is not a failure.
            return Fingerprint(name) if state == states.FAILURE else None
        raised = Raised.of(error, state)
        key = self._own_keys.find(raised.error, name)
        module = str(getattr(self.app.tasks.get(name), "__module__", ""))
        return fingerprint(raised, name, module.partition(".")[0], own_key=key)
