"""Reading of task messages, without running or unpickling anything."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from kombu.message import Message

from cadasta.workertoolbox.results._arguments.jsonable import (
    MAX_DEPTH,
    MAX_NAME_LENGTH,
    jsonable,
    jsonable_text,
)
from cadasta.workertoolbox.results._arguments.mapped_tasks import called_name
from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.truncation import DEFAULT_MAX_BYTES
from cadasta.workertoolbox.results._headers import (
    PROBE,
    PUBLISHED_AT,
    REFUSED,
    UNREADABLE,
    work_queue,
)
from cadasta.workertoolbox.results._history.clocks import MAX_LEAD
from cadasta.workertoolbox.results._monitor.call_options import (
    find_options,
    find_rerun,
)
from cadasta.workertoolbox.results._monitor.decompression import (
    decompress,
)
from cadasta.workertoolbox.results._monitor.own_headers import (
    find_entry,
    find_own_headers,
    find_service,
)
from cadasta.workertoolbox.results._monitor.planned import planned_steps
from cadasta.workertoolbox.results._monitor.records import QuarantineRecord, TaskRecord
from cadasta.workertoolbox.results._monitor.scheduled_runs import find_run
from cadasta.workertoolbox.results._monitor.size_limits import (
    MAX_BODY_BYTES,
    MAX_QUARANTINED_BYTES,
    MAX_REASON_LENGTH,
)
from cadasta.workertoolbox.results._monitor.stored_arguments import (
    seal,
    store_arguments,
)
from cadasta.workertoolbox.results._monitor.unread_message import (
    UnreadMessage,
    redact_unread,
)
from cadasta.workertoolbox.results._monitor.value_count import (
    has_more_values,
    max_values,
)

#: Content type and encodings of task messages; ASCII is a subset of UTF-8.
_JSON = "application/json"
_UTF8 = {"utf-8", "utf8", "us-ascii", "none"}

_DEFAULT_REDACTION = Redaction()

#: Longest time from the publication of a message to its receipt. What a message says
#: about its age can be forged.
MAX_AGE = timedelta(days=366)

#: Largest distance of other times from the receipt. Databases, time zones and commands
#: cannot represent every time, and an ETA of `datetime.max` means "never".
FAR = timedelta(days=36_500)

# `json.loads` takes twice as long, as it examines its options first.
_decode = json.JSONDecoder().decode


class UnreadableMessage(ValueError):
    """A message is not a task message of Celery's protocol 2 in JSON."""


def read_task(
    message: Message,
    *,
    seen_at: datetime,
    redaction: Redaction = _DEFAULT_REDACTION,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> TaskRecord:
    """Return the record of a task message.

    Args:
        message: A message whose body is not decompressed yet.
        seen_at: When the monitor received it. It also replaces the instant of
            publication if the message does not have one.
        redaction: Rules for hiding arguments.
        max_bytes: Maximum size in bytes, as JSON, of `args` and of `kwargs`.

    Raises:
        UnreadableMessage: It is not a task message of protocol 2, or not in JSON.
    """
    headers = message.headers or {}
    args, kwargs, embedded = _decode_body(message)
    id, name = _read_name(headers, "id"), _read_name(headers, "task")
    shown_name = _checked_name("task", called_name(name, args, kwargs))
    parent_id = _find_name(headers, "parent_id")
    group_id = _find_name(headers, "group")
    service = find_service(headers)
    far = seen_at - FAR, seen_at + FAR
    published_at = _read_instant(
        headers, PUBLISHED_AT, seen_at - MAX_AGE, seen_at + MAX_LEAD
    )
    try:
        hidden: list[Any] = []
        stored = store_arguments(
            *(name, args, kwargs, headers),
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
    return TaskRecord(
        id=id,
        name=shown_name,
        queue=jsonable(work_queue(message.delivery_info or {})),
        args=stored.args,
        kwargs=stored.kwargs,
        root_id=_find_name(headers, "root_id"),
        # Celery publishes the retry of a task as a child of the task itself.
        parent_id=None if parent_id == id else parent_id,
        group_id=group_id,
        replaced=_read_count(headers, "replaced_task_nesting"),
        retries=_read_count(headers, "retries"),
        scheduled_at=published_at or seen_at,
        eta=_read_instant(headers, "eta", *far),
        expires=_read_instant(headers, "expires", *far),
        origin=_find_name(headers, "origin"),
        ignore_result=bool(headers.get("ignore_result")),
        seen_at=seen_at,
        published_at=published_at,
        time_limit_s=_read_time_limit(headers),
        planned=planned_steps(
            embedded, task_id=id, group_id=group_id, size=len(message.body or b"")
        ),
        service=service,
        schedule=find_entry(headers),
        headers=own.shown,
        rerun_of=find_rerun(headers),
        arguments=form.value,
        options=find_options(
            message, embedded, own, redaction=redaction, hidden=hidden
        ),
        digest=digest,
        run=find_run(
            headers,
            id=id,
            name=shown_name,
            service=service,
            sent_at=published_at or seen_at,
            seen_at=seen_at,
        ),
        refused=_read_text(headers, REFUSED),
    )


def quarantine_record(
    message: Message,
    *,
    reason: str,
    seen_at: datetime,
    redaction: Redaction = _DEFAULT_REDACTION,
) -> QuarantineRecord:
    """Return a record that contains an unreadable message, unchanged but for secrets.

    Args:
        reason: Why it cannot be read.
        seen_at: When the monitor received it.
        redaction: Rules for hiding arguments.
    """
    content_type = jsonable(str(message.content_type))
    body, headers, reason = redact_unread(
        UnreadMessage(
            _as_bytes(message.body), _jsonable_headers(message.headers or {}), reason
        ),
        content_type=content_type,
        redaction=redaction,
    )
    if len(body) > MAX_QUARANTINED_BYTES:
        reason = (
            f"{reason}; only the first {MAX_QUARANTINED_BYTES} of its {len(body)} "
            "bytes are stored"
        )
        body = body[:MAX_QUARANTINED_BYTES]
    content_encoding = jsonable(str(message.content_encoding))
    routing_key = jsonable(work_queue(message.delivery_info or {}))
    identity = [headers, content_type, content_encoding, routing_key]
    digest = sha256(json.dumps(identity, sort_keys=True).encode() + b"\0")
    digest.update(body)
    return QuarantineRecord(
        digest=digest.hexdigest(),
        reason=jsonable(reason)[:MAX_REASON_LENGTH],
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        headers=headers,
        routing_key=routing_key,
        seen_at=seen_at,
    )


def is_probe(message: Message) -> bool:
    """Return whether a message is a probe of the check-up.

    A message that names a task is a task message, even if it has the header of a probe.
    """
    headers = message.headers
    return isinstance(headers, Mapping) and PROBE in headers and "task" not in headers


def _decode_body(message: Message) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    if (unreadable := (message.headers or {}).get(UNREADABLE)) is not None:
        raise UnreadableMessage(f"not a valid message: {_error_text(unreadable)}")
    if message.content_type != _JSON:
        raise UnreadableMessage(
            f"the content type must be {_JSON}, got {message.content_type!r}"
        )
    if str(message.content_encoding).lower() not in _UTF8:
        raise UnreadableMessage(
            f"the content encoding must be utf-8, got {message.content_encoding!r}"
        )
    raw = _decompressed_body(message)
    limit = max_values(len(message.body or b""))
    if has_more_values(raw, limit):
        raise UnreadableMessage(f"the body has more than {limit} values")
    try:
        body = _decode(str(raw, "utf-8", "surrogatepass"))
    except (ValueError, TypeError, RecursionError) as error:
        raise UnreadableMessage(f"the body is not valid JSON: {error}") from error
    shape = [type(part) for part in body] if isinstance(body, list) else None
    if shape != [list, dict, dict]:
        raise UnreadableMessage(
            "the body is not [args, kwargs, embed] as in Celery's protocol 2"
        )
    args, kwargs, embedded = body
    return args, kwargs, embedded


def _decompressed_body(message: Message) -> bytes:
    body = _as_bytes(message.body or b"")
    if len(body) > MAX_BODY_BYTES:
        raise UnreadableMessage(
            f"the body has {len(body)} bytes, more than the limit of {MAX_BODY_BYTES}"
        )
    method = (message.headers or {}).get("compression")
    if not method:
        return body
    try:
        return decompress(body, method)
    except Exception as error:
        # Each compression library has exceptions of its own.
        raise UnreadableMessage(f"the body cannot be decompressed: {error}") from error


def _error_text(unreadable: Any) -> str:
    """Return the error in the header `UNREADABLE`, which may have any type."""
    is_mapping = isinstance(unreadable, Mapping)
    text = unreadable.get("error") if is_mapping else unreadable
    return text if isinstance(text, str) else reprlib.repr(text)


def _read_name(headers: Mapping[str, Any], key: str) -> str:
    value = headers.get(key)
    if not isinstance(value, str) or not value:
        raise UnreadableMessage(
            f"header {key!r} must be a non-empty string, got {reprlib.repr(value)}"
        )
    return _checked_name(key, value)


def _checked_name(key: str, value: str) -> str:
    name = jsonable_text(value)
    if len(name) > MAX_NAME_LENGTH:
        raise UnreadableMessage(
            f"header {key!r} has {len(name)} characters, more than the limit of "
            f"{MAX_NAME_LENGTH}"
        )
    return name


def _find_name(headers: Mapping[str, Any], key: str) -> str | None:
    return None if headers.get(key) is None else _read_name(headers, key)


def _read_text(headers: Mapping[str, Any], key: str) -> str | None:
    value = headers.get(key)
    return None if value is None else jsonable_text(str(value))[:MAX_REASON_LENGTH]


def _read_count(headers: Mapping[str, Any], key: str) -> int:
    value = headers.get(key) or 0
    if not isinstance(value, int) or not 0 <= value < 2**31:
        raise UnreadableMessage(
            f"header {key!r} must be an integer from 0 to 2147483647, got "
            f"{reprlib.repr(value)}"
        )
    return int(value)


def _read_time_limit(headers: Mapping[str, Any]) -> float | None:
    """Return the hard time limit in seconds: the first of two limits in the header."""
    match headers.get("timelimit"):
        case [int() | float() as limit_s, *_] if 0 < limit_s < FAR.total_seconds():
            return float(limit_s)
    return None


def _read_instant(
    headers: Mapping[str, Any], key: str, first: datetime, last: datetime
) -> datetime | None:
    """Return an instant, or the nearest one between the first and the last."""
    value = headers.get(key)
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except (ValueError, TypeError) as error:
        raise UnreadableMessage(
            f"header {key!r} must be a time in ISO 8601, got {reprlib.repr(value)}"
        ) from error
    # Celery leaves out the time zone only if the app has `enable_utc` off.
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    # Not converted to UTC first: the first and the last day of the calendar may be
    # outside of it in another time zone.
    return min(max(aware, first), last).astimezone(UTC)


def _as_bytes(body: Any) -> bytes:
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    text = body if isinstance(body, str) else repr(body)
    return text.encode("utf-8", "surrogatepass")


def _jsonable_headers(headers: Any) -> Any:
    """Return headers as JSON; values that only AMQP can carry become their reprs."""
    try:
        return jsonable(headers)
    except (ValueError, RecursionError):
        return {"repr": jsonable(_repr(headers))}


def _repr(headers: Any) -> str:
    try:
        return repr(headers)
    except RecursionError:
        return reprlib.repr(headers)
