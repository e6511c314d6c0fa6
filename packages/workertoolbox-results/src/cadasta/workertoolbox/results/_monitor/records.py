"""Records: messages in the form in which the tables store them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from cadasta.workertoolbox.results._monitor.scheduled_runs import ScheduledRun
from cadasta.workertoolbox.results._workflows.steps import Step


class TaskRecord(NamedTuple):
    """A task message: the columns of `workertoolbox_task`.

    Attributes:
        args: A list, or a text that is shown instead; never None.
        kwargs: A dict, or a text that is shown instead; never None.
        time_limit_s: Seconds after which a worker ends the run; None if the message
            does not say.
        service: The name of the service that published the task first.
        schedule: The entry of beat's schedule that the task belongs to.
        headers: The headers and stamps that a user has added, or None.
        rerun_of: The id of the task that this one repeats.
        arguments: A `Form`: how `args` and `kwargs` are stored.
        options: What else a rerun needs; see `call_options.py`.
        digest: That of whole arguments and headers; None for others.
        results_elsewhere: The kind of result backend, such as `redis`, if the sender's
            results are not stored in the database of the toolbox.
        replaced: How many times the task has replaced itself.
        run: The run of an entry of beat's schedule that the message is.
        planned: The steps that the message announces.
        refused: The answer of the broker, if it has refused the task.
        version: The version of the service.
    """

    id: str
    name: str
    queue: str
    args: Any
    kwargs: Any
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    replaced: int
    retries: int
    scheduled_at: datetime
    eta: datetime | None
    expires: datetime | None
    origin: str | None
    ignore_result: bool
    seen_at: datetime
    published_at: datetime | None
    time_limit_s: float | None
    service: str | None
    schedule: str | None
    headers: dict[str, Any] | None
    rerun_of: str | None
    arguments: str | None
    options: dict[str, Any] | None
    digest: str | None
    results_elsewhere: str | None
    run: ScheduledRun | None
    planned: tuple[Step, ...]
    refused: str | None
    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRecord:
    """A message that cannot be read: the columns of `workertoolbox_quarantine`.

    Attributes:
        digest: SHA-256 of the message, as hexadecimal digits; a message that is
            delivered again has the same one.
        reason: Why it cannot be read.
    """

    digest: str
    reason: str
    body: bytes
    content_type: str | None
    content_encoding: str | None
    headers: Any
    routing_key: str | None
    seen_at: datetime


Record = TaskRecord | QuarantineRecord
