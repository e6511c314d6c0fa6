"""Steps that are never run, because a task before them did not succeed.

Celery stores a failure for the steps after a failed task, so that waiting for them
ends. It stores neither their lineage nor all of them: it leaves out the members of a
group, callbacks, and the steps after a task that expired or was revoked. Groups and
chords get a failure too, although they are not tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, NamedTuple

from celery import Celery, states
from celery._state import get_current_task
from celery.backends import base
from celery.exceptions import TaskRevokedError

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._backend.rows import RowBuilder
from cadasta.workertoolbox.results._backend.states import write_state
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.tables import NAME_LENGTH
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._workflows.steps import Step, steps_after


class Cause(NamedTuple):
    """Why steps are not run: a task did not succeed.

    Attributes:
        task_id: Id of that task, which is the parent of the next step.
        root_id: Id of the task that began the workflow.
        text: What happened to the task, such as `export.fetch[…] failed`.
        request: The request of the task if it is known: its secrets are masked in what
            is stored for the steps too.
    """

    task_id: str | None
    root_id: str | None
    text: str
    request: Any = None

    @classmethod
    def of(cls, request: Any, event: str) -> Cause:
        """Return the cause that the task of a request did not succeed."""
        # The request of a task that the worker does not know has few attributes.
        id = getattr(request, "id", None)
        name = getattr(request, "task", None) or "task"
        root_id = getattr(request, "root_id", None) or id
        return cls(id, root_id, f"{name}[{id}] {event}", request)


#: Why the steps are not run that are failed at the moment.
_cause: ContextVar[Cause | None] = ContextVar("cause", default=None)

#: The body of a chord whose steps are recorded already.
_recorded_body: ContextVar[Any] = ContextVar("recorded_body", default=None)


class UnrunStepsMixin(base.BaseBackend):
    """The methods by which Celery records a failure for the steps after a task."""

    app: Celery
    database: Database
    _rows: RowBuilder
    _ensure_retryable: Callable[..., Any]

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
        """Store a failure, for the steps after the task too."""
        if request is None and _is_group(_recorded_body.get(), task_id):
            return  # Celery fails the group that is the body of a chord.
        event = "was revoked" if state == states.REVOKED else "failed"
        with _because(request and Cause.of(request, event)):
            super().mark_as_failure(
                task_id, exc, traceback, request, store_result, call_errbacks, state
            )
            self._record_callbacks(request, exc, traceback, state)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Store that a task was revoked or expired, for the steps after it too."""
        super().mark_as_revoked(task_id, reason, request, store_result, state)
        if not request:
            return
        event = "expired" if reason == "expired" else "was revoked"
        error = TaskRevokedError(reason)
        with _because(Cause.of(request, event)):
            self._fail_chain(getattr(request, "chain", None), error, state=state)
            self._record_callbacks(request, error, None, state)

    def fail_body(self, body: Any, error: Exception, cause: Cause) -> None:
        """Fail the body of a chord, and the steps after it, and call its errbacks."""
        with _because(cause):
            # Celery fails each task of a group with the error of the header's task.
            is_group = body.task == "celery.group"
            first: Any = error.__cause__ if is_group and error.__cause__ else error
            # Counts the body in an outer chord if it is a task of that chord's header.
            # Tasks that have failed already are not counted, so this comes first.
            self._fail_chain([body], first)
        recorded = _recorded_body.set(body)
        try:
            self.chord_error_from_stack(body, error)
        finally:
            _recorded_body.reset(recorded)

    def _fail_chain(
        self,
        chain: Any,
        exc: Exception,
        traceback: Any = None,
        store_result: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        # Celery counts the steps in chords. What it would store has no lineage.
        celerys: Any = super()
        celerys._fail_chain(chain, exc, traceback, store_result=False, state=state)
        steps = list(chain) if isinstance(chain, list | tuple) else []
        if steps and store_result and state in states.PROPAGATE_STATES:
            self._record_steps({"chain": steps}, exc, traceback, state)

    def _record_callbacks(
        self, request: Any, exc: Exception, traceback: Any, state: str
    ) -> None:
        callbacks = getattr(request, "callbacks", None)
        if callbacks:
            steps = {"callbacks": list(callbacks)}
            self._record_steps(steps, exc, traceback, state)

    def _record_steps(
        self, embedded: Mapping[str, Any], exc: Exception, traceback: Any, state: str
    ) -> None:
        """Store a state for the steps that a message announces.

        The body of a chord gets its own error when the header is over.

        Args:
            embedded: As in the body of a message: `chain` or `callbacks`.
        """
        if _recorded_body.get() is not None and _cause.get() is None:
            return
        cause = _cause.get() or _current_cause()
        own = self._rows.build(
            "",
            self.encode_result(exc, state),
            state,
            traceback=traceback,
            children=None,
            request=cause.request,
        )
        same = {name: own[name] for name in ("status", "result", "traceback")}
        for step in steps_after(embedded, task_id=cause.task_id):
            if step.is_of_open_chord:
                continue
            row = {
                "task_id": step.id,
                **same,
                "date_done": naive_utc(datetime.now(UTC)),
                "name": step.name[:NAME_LENGTH],
                "queue": step.queue or self._queue_of(step),
                "root_id": cause.root_id,
                "parent_id": step.parent_id or cause.task_id,
                "group_id": step.group_id,
                "not_run": jsonable(f"not run: {cause.text}"),
            }
            self._ensure_retryable(write_state, self.database, row)

    def _queue_of(self, step: Step) -> str | None:
        """Return the queue to which the step would have been published."""
        try:
            route: Any = self.app.amqp.router.route({}, step.name)
            return str(route["queue"].name)[:NAME_LENGTH]
        except Exception:
            # The routers are the users' own. Without a queue, the step is still shown.
            return None


@contextmanager
def _because(cause: Cause | None) -> Iterator[None]:
    token = _cause.set(cause)
    try:
        yield
    finally:
        _cause.reset(token)


def _current_cause() -> Cause:
    task: Any = get_current_task()
    if task is None or task.request.id is None:
        return Cause(None, None, "a task before it failed")
    return Cause.of(task.request, "failed")


def _is_group(body: Any, task_id: str) -> bool:
    return (
        body is not None
        and body.task == "celery.group"
        and body.options.get("task_id") == task_id
    )
