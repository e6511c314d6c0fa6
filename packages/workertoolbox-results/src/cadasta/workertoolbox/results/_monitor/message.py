"""Reading of task messages, without running or unpickling anything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict

from kombu.message import Message

from cadasta.workertoolbox.results._arguments.jsonable import MAX_DEPTH, jsonable
from cadasta.workertoolbox.results._arguments.mapped_tasks import called_name
from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.truncation import DEFAULT_MAX_BYTES
from cadasta.workertoolbox.results._headers import (
    PROBE,
    PUBLISHED_AT,
    REFUSED,
    FindQueue,
    work_queue,
)
from cadasta.workertoolbox.results._history.clocks import (
    MAX_AGE,
    MAX_SKEW,
    believed,
)
from cadasta.workertoolbox.results._monitor.call_options import find_options, find_rerun
from cadasta.workertoolbox.results._monitor.header_values import (
    FAR,
    checked_name,
    find_instant,
    find_name,
    find_text,
    find_time_limit,
    read_count,
    read_name,
)
from cadasta.workertoolbox.results._monitor.message_body import Body, read_body
from cadasta.workertoolbox.results._monitor.own_headers import (
    find_entry,
    find_own_headers,
    find_results_elsewhere,
    find_service,
    find_version,
)
from cadasta.workertoolbox.results._monitor.planned import planned_steps
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results._monitor.scheduled_runs import ScheduledRun, find_run
from cadasta.workertoolbox.results._monitor.stored_arguments import (
    seal,
    store_arguments,
)
from cadasta.workertoolbox.results._monitor.unreadable import UnreadableMessage

_DEFAULT_REDACTION = Redaction()


class _Lineage(TypedDict):
    """The id of a task, and the ids of the tasks and the group that it belongs to."""

    id: str
    root_id: str | None
    parent_id: str | None
    group_id: str | None


class _Times(TypedDict):
    """When a task was published, may run, and was seen by the monitor.

    `published_at` is the time that the message states, by which a worker knows it too;
    `scheduled_at` is limited to what can be believed.
    """

    scheduled_at: datetime
    eta: datetime | None
    expires: datetime | None
    seen_at: datetime
    published_at: datetime | None


class _Origin(TypedDict):
    """Which process, service or entry of beat's schedule has published a task."""

    origin: str | None
    service: str | None
    version: str | None
    schedule: str | None
    run: ScheduledRun | None


class _Content(TypedDict):
    """Arguments, headers and options, with secrets masked."""

    args: Any
    kwargs: Any
    headers: dict[str, Any] | None
    arguments: str | None
    options: dict[str, Any] | None
    digest: str | None


def read_task(
    message: Message,
    *,
    seen_at: datetime,
    redaction: Redaction = _DEFAULT_REDACTION,
    max_bytes: int = DEFAULT_MAX_BYTES,
    find_queue: FindQueue = work_queue,
) -> TaskRecord:
    """Return the record of a task message.

    Args:
        message: A message whose body is not decompressed yet.
        seen_at: When the monitor received it. It also replaces the instant of
            publication if the message does not have one.
        redaction: Rules for hiding arguments.
        max_bytes: Maximum size in bytes, as JSON, of `args` and of `kwargs`.
        find_queue: Returns the work queue of a message, as `work_queue` does.

    Raises:
        UnreadableMessage: It is not a task message of protocol 2, or not in JSON.
    """
    headers = message.headers or {}
    body = read_body(message)
    called = read_name(headers, "task")
    name = checked_name("task", called_name(called, body.args, body.kwargs))
    lineage = _read_lineage(headers)
    times = _read_times(headers, seen_at)
    return TaskRecord(
        name=name,
        queue=jsonable(find_queue(message.delivery_info or {}, headers)),
        replaced=read_count(headers, "replaced_task_nesting"),
        retries=read_count(headers, "retries"),
        ignore_result=bool(headers.get("ignore_result")),
        time_limit_s=find_time_limit(headers),
        planned=planned_steps(
            body.embedded,
            task_id=lineage["id"],
            group_id=lineage["group_id"],
            size=len(message.body or b""),
        ),
        rerun_of=find_rerun(headers),
        refused=find_text(headers, REFUSED),
        results_elsewhere=find_results_elsewhere(headers),
        **lineage,
        **times,
        **_read_origin(headers, lineage["id"], name, times),
        **_read_content(message, called, body, redaction, max_bytes),
    )


def is_probe(message: Message) -> bool:
    """Return whether a message is a probe of the check-up.

    A message that names a task is a task message, even if it has the header of a probe.
    """
    headers = message.headers
    return isinstance(headers, Mapping) and PROBE in headers and "task" not in headers


def _read_lineage(headers: Mapping[str, Any]) -> _Lineage:
    id, parent_id = read_name(headers, "id"), find_name(headers, "parent_id")
    return {
        "id": id,
        "root_id": find_name(headers, "root_id"),
        # Celery publishes the retry of a task as a child of the task itself.
        "parent_id": None if parent_id == id else parent_id,
        "group_id": find_name(headers, "group"),
    }


def _read_times(headers: Mapping[str, Any], seen_at: datetime) -> _Times:
    published_at = find_instant(
        headers, PUBLISHED_AT, seen_at - MAX_AGE, seen_at + MAX_SKEW
    )
    far = seen_at - FAR, seen_at + FAR
    return {
        "scheduled_at": believed(published_at or seen_at, seen_at),
        "eta": find_instant(headers, "eta", *far),
        "expires": find_instant(headers, "expires", *far),
        "seen_at": seen_at,
        "published_at": published_at,
    }


def _read_origin(
    headers: Mapping[str, Any], id: str, name: str, times: _Times
) -> _Origin:
    service = find_service(headers)
    return {
        "origin": find_name(headers, "origin"),
        "service": service,
        "version": find_version(headers),
        "schedule": find_entry(headers),
        "run": find_run(
            headers,
            id=id,
            name=name,
            service=service,
            sent_at=times["scheduled_at"],
            seen_at=times["seen_at"],
        ),
    }


def _read_content(
    message: Message, name: str, body: Body, redaction: Redaction, max_bytes: int
) -> _Content:
    headers = message.headers or {}
    hidden: list[Any] = []
    try:
        stored = store_arguments(
            *(name, body.args, body.kwargs, headers),
            redaction=redaction,
            max_bytes=max_bytes,
            hidden=hidden,
        )
    except (ValueError, RecursionError) as error:
        raise UnreadableMessage(
            f"the arguments are nested deeper than {MAX_DEPTH} levels"
        ) from error
    own = find_own_headers(name, headers, redaction, hidden)
    form, digest = seal(stored, own.shown)
    return {
        "args": stored.args,
        "kwargs": stored.kwargs,
        "headers": own.shown,
        "arguments": form.value,
        "options": find_options(
            message, body.embedded, own, redaction=redaction, hidden=hidden
        ),
        "digest": digest,
    }
