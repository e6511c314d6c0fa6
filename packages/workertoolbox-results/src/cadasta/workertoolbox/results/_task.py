"""A task as the database knows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from celery.states import PROPAGATE_STATES

from cadasta.workertoolbox.results._database.statuses import BEFORE_RESULT
from cadasta.workertoolbox.results._json_record import JsonRecord

#: Prefix of the names of Celery's own tasks.
INTERNAL = "celery."

#: Prefix of the result of a step that was not run.
NOT_RUN = "not run: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(JsonRecord):
    """One row of the view `workertoolbox_tasks`: a task joined with its result.

    Attributes:
        id: Id of the task.
        name: Name of the task; None if neither message nor result has one.
        status: Celery's, or `QUEUED` (its message was seen, no worker has run it yet),
            `SCHEDULED` (queued with an ETA in the future), `PLANNED` (the message of
            another task announces it; if that task fails, this one fails too), or
            `LOST` (it should have ended, and its worker has probably died).
        queue: The work queue: the routing key that the task was published with.
        args: Positional arguments as the message had them, redacted and truncated; None
            if neither message nor result has them.
        kwargs: Keyword arguments, likewise.
        root_id: Id of the task that began the workflow.
        parent_id: Id of the task that published this one.
        group_id: Id of the group that the task is part of.
        retries: How many times the task has been retried so far.
        scheduled_at: When it was first published; None if no monitor has seen its
            message.
        eta: The earliest time at which it may run, if it has one.
        started_at: When its latest attempt began; None before that, and if the service
            does not set `task_track_started`.
        finished_at: When a final state was stored.
        worker: The worker that stored the latest state, such as `celery@host`.
        result: The return value, or `exc_type` and `exc_message` of a failure, or a
            text that begins with `not run:` if a task before this one did not succeed.
        traceback: The traceback of a failure, as text.
        tracked: False if the task has a result, but no monitor has seen its message.
        waited_s: Seconds that the latest attempt waited, as its worker measured them.
        origin: The process that published the task first, such as `gen123@host`.
        service: The name of the app in that process, `app.main`. It is None if the
            service does not use workertoolbox-routing, or an earlier release of it.
        schedule: The entry of beat's schedule, if beat has sent the task.
        headers: The headers and stamps that the publisher added, redacted, and large
            ones truncated; None without any. Those of Celery, of brokers and of
            libraries for tracing are left out.
        rerun_of: Id of the task that this one repeats, after `tasks rerun`.
        arguments: How the arguments are stored: `whole`, so that the task can be run
            again; `repr`, as the text that its publisher gave; `redacted`; `truncated`;
            or `converted`, with another value in place of one that databases do not
            keep, such as NaN. It is None for a message that an earlier release stored.
        result_bytes: Size of the result in bytes if it was too long for the history;
            then `result` is only its beginning.
    """

    json_hidden: ClassVar = frozenset({"tracked", "waited_s", "result_bytes"})
    json_added: ClassVar = {"result": "shown_result"}

    id: str
    name: str | None
    status: str
    queue: str | None
    args: Any
    kwargs: Any
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    retries: int | None
    scheduled_at: datetime | None
    eta: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    result: Any
    traceback: str | None
    tracked: bool
    waited_s: float | None = None
    origin: str | None = None
    service: str | None = None
    schedule: str | None = None
    headers: dict[str, Any] | None = None
    rerun_of: str | None = None
    arguments: str | None = None
    result_bytes: int | None = None

    @property
    def internal(self) -> bool:
        """Whether it is one of Celery's own tasks, such as `celery.chord_unlock`."""
        return (self.name or "").startswith(INTERNAL)

    @property
    def waiting(self) -> bool:
        """Whether no worker has stored a state: `QUEUED`, `SCHEDULED` or `PLANNED`."""
        return self.status in BEFORE_RESULT

    @property
    def not_run(self) -> bool:
        """Whether it was never run, because a task before it did not succeed."""
        is_error = self.status in PROPAGATE_STATES
        return is_error and str(self.result).startswith(NOT_RUN)

    @property
    def wait_s(self) -> float | None:
        """Seconds from the ETA, or else the publication, to the start of a run.

        They are those of the latest attempt that has started, and its first start: the
        time that a task ran before it was retried or requeued is not a wait. It is None
        for an attempt of which this is not known.
        """
        if self.waited_s is not None:
            return self.waited_s
        if self.retries:
            return None
        due_at = max(filter(None, (self.scheduled_at, self.eta)), default=None)
        if due_at is None or self.started_at is None:
            return None
        return max(0.0, (self.started_at - due_at).total_seconds())

    @property
    def run_s(self) -> float | None:
        """Seconds from its start to its end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())

    @property
    def shown_result(self) -> Any:
        """The return value, or `exc_type` and `exc_message` of a failure, or a text.

        The text begins with `not run:` if a task before this one did not succeed. If
        the history has only the beginning of a return value, it says how long it is.
        """
        if self.result_bytes is None or failure_text(self.result) is not None:
            return self.result
        return f"<truncated: {self.result_bytes} bytes>"


def failure_text(result: Any) -> str | None:
    """Return a failure that Celery stored as `Type: message`, or None for others."""
    match result:
        case {"exc_type": kind, "exc_message": [*parts]}:
            return f"{kind}: {', '.join(str(part) for part in parts)}"
        case {"exc_type": kind, "exc_message": message}:
            return f"{kind}: {message}"
    return None
