"""What a task message says, read without running or unpickling anything."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from kombu.message import Message

from cadasta.workertoolbox.results._planned import Step, planned_steps
from cadasta.workertoolbox.results._redaction import Redaction
from cadasta.workertoolbox.results._size import MAX_BYTES, cut
from cadasta.workertoolbox.results._storable import MAX_DEPTH, MAX_NAME, storable

#: The header in which the publisher writes the instant of publication; the routing
#: package has the same name (the two do not import each other).
PUBLISHED_AT = "workertoolbox_published_at"

#: Where the routing package's transports keep the routing key of a message when they
#: pin it to the queue it was read from.
ROUTING_KEY = "workertoolbox_routing_key"

#: Longest reason in characters.
MAX_REASON = 500

#: What RabbitMQ's delays put before a routing key: a countdown in 28 bits.
_DELAY = re.compile(r"^(?:[01]\.){28}")

#: Names of JSON in a message's content type and encoding.
_JSON = "application/json"
_UTF8 = {"utf-8", "utf8", "us-ascii", "none"}


_DEFAULT = Redaction()


class Unreadable(ValueError):
    """A message is no task message of protocol 2 in JSON; says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """One task message: columns of `workertoolbox_task`.

    Attributes:
        planned: What it says is still to come.
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
    planned: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRecord:
    """One message that could not be read: columns of `workertoolbox_quarantine`."""

    digest: str
    reason: str
    body: bytes
    content_type: str | None
    content_encoding: str | None
    headers: Any
    routing_key: str | None
    seen_at: datetime


def read_task(
    message: Message,
    *,
    seen_at: datetime,
    redaction: Redaction = _DEFAULT,
    max_bytes: int = MAX_BYTES,
) -> TaskRecord:
    """Read a task message.

    Args:
        redaction: What is hidden of its arguments.
        max_bytes: Most bytes that are kept of them, of each of both kinds.

    Raises:
        Unreadable: It is no task message, or not in JSON.
    """
    headers = message.headers or {}
    args, kwargs, embedded = _parts(message)
    id, name = _name(headers, "id"), _name(headers, "task")
    try:
        args, kwargs = redaction.shown(name, args, kwargs, headers)
        args, kwargs = storable(args), storable(kwargs)
    except (ValueError, RecursionError) as error:
        raise Unreadable(
            f"its arguments are nested deeper than {MAX_DEPTH} levels"
        ) from error
    return TaskRecord(
        id=id,
        name=name,
        queue=storable(work_queue(message.delivery_info or {})),
        args=cut(args, max_bytes),
        kwargs=cut(kwargs, max_bytes),
        root_id=_optional_name(headers, "root_id"),
        parent_id=_optional_name(headers, "parent_id"),
        group_id=_optional_name(headers, "group"),
        replaced=_count(headers, "replaced_task_nesting"),
        retries=_count(headers, "retries"),
        scheduled_at=_instant(headers, PUBLISHED_AT) or seen_at,
        eta=_instant(headers, "eta"),
        expires=_instant(headers, "expires"),
        origin=_optional_name(headers, "origin"),
        ignore_result=bool(headers.get("ignore_result")),
        seen_at=seen_at,
        planned=planned_steps(embedded, task_id=id),
    )


def keep_unread(
    message: Message, *, reason: str, seen_at: datetime
) -> QuarantineRecord:
    """Keep a message as it came, with the reason why it could not be read."""
    body = _raw(message.body)
    headers = _printable(message.headers or {})
    if "compression" in headers and not message.errors:
        del headers["compression"]  # The body is decompressed.
    content_type = storable(str(message.content_type))
    content_encoding = storable(str(message.content_encoding))
    routing_key = storable(work_queue(message.delivery_info or {}))
    identity = [headers, content_type, content_encoding, routing_key]
    digest = sha256(json.dumps(identity, sort_keys=True).encode() + b"\0" + body)
    return QuarantineRecord(
        digest=digest.hexdigest(),
        reason=storable(reason)[:MAX_REASON],
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        headers=headers,
        routing_key=routing_key,
        seen_at=seen_at,
    )


def work_queue(delivery_info: Mapping[str, Any]) -> str:
    """Return the routing key that a message was published with: its work queue."""
    key = delivery_info.get(ROUTING_KEY) or delivery_info.get("routing_key") or ""
    return _DELAY.sub("", str(key))


def _parts(message: Message) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    if message.errors:
        raise Unreadable(f"its body cannot be decompressed: {message.errors[0][1]!r}")
    if message.content_type != _JSON:
        raise Unreadable(f"its content type is {message.content_type!r}, not {_JSON}")
    if str(message.content_encoding).lower() not in _UTF8:
        raise Unreadable(f"its encoding is {message.content_encoding!r}, not utf-8")
    try:
        body = json.loads(message.body or "")
    except (ValueError, TypeError, RecursionError) as error:
        raise Unreadable(f"its body is no JSON: {error}") from error
    match body:
        case [list(args), dict(kwargs), dict(embedded)]:
            return args, kwargs, embedded
    raise Unreadable("its body is not [args, kwargs, embedded]: no protocol 2")


def _name(headers: Mapping[str, Any], key: str) -> str:
    value = headers.get(key)
    if not isinstance(value, str) or not value:
        raise Unreadable(f"its header {key!r} is {reprlib.repr(value)}, not a name")
    name = str(storable(value))
    if len(name) > MAX_NAME:
        raise Unreadable(
            f"its header {key!r} has {len(name)} characters, more than {MAX_NAME}"
        )
    return name


def _optional_name(headers: Mapping[str, Any], key: str) -> str | None:
    return None if headers.get(key) is None else _name(headers, key)


def _count(headers: Mapping[str, Any], key: str) -> int:
    value = headers.get(key) or 0
    if not isinstance(value, int) or not 0 <= value < 2**31:
        raise Unreadable(f"its header {key!r} is {reprlib.repr(value)}, not a count")
    return int(value)


def _instant(headers: Mapping[str, Any], key: str) -> datetime | None:
    value = headers.get(key)
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value)
        # Celery writes no zone only where the app has UTC switched off.
        return (
            instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise Unreadable(
            f"its header {key!r} is {reprlib.repr(value)}, no instant"
        ) from error


def _raw(body: Any) -> bytes:
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    text = body if isinstance(body, str) else repr(body)
    return text.encode("utf-8", "surrogatepass")


def _printable(headers: Any) -> Any:
    """Return headers as JSON: what AMQP can carry and JSON cannot becomes its repr."""
    try:
        return storable(headers)
    except (ValueError, RecursionError):
        return {"repr": storable(_repr(headers))}


def _repr(headers: Any) -> str:
    try:
        return repr(headers)
    except RecursionError:
        return reprlib.repr(headers)
