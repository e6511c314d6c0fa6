"""What a task message says, read without running or unpickling anything."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from kombu.message import Message

from cadasta.workertoolbox.results._arguments.jsonable import (
    MAX_DEPTH,
    MAX_NAME_LENGTH,
    jsonable,
    jsonable_text,
)
from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._arguments.truncation import (
    DEFAULT_MAX_BYTES,
    truncate_arguments,
)
from cadasta.workertoolbox.results._headers import (
    PROBE,
    PUBLISHED_AT,
    UNREADABLE,
    work_queue,
)
from cadasta.workertoolbox.results._monitor.decompression import MAX_BODY, decompress
from cadasta.workertoolbox.results._monitor.planned import planned_steps
from cadasta.workertoolbox.results._monitor.records import QuarantineRecord, TaskRecord

#: Most bytes of a body that are kept in quarantine: what RabbitMQ 3 takes by default.
#: PostgreSQL takes no statement of a gigabyte, and a byte is two characters there.
MAX_KEPT = 128 * 1024 * 1024

#: Longest reason in characters.
MAX_REASON = 500

#: Names of JSON in a message's content type and encoding.
_JSON = "application/json"
_UTF8 = {"utf-8", "utf8", "us-ascii", "none"}


_DEFAULT = Redaction()

# `json.loads` looks at all its options first, which takes as long again.
_decode = json.JSONDecoder().decode


class Unreadable(ValueError):
    """A message is no task message of protocol 2 in JSON; says what is wrong."""


def read_task(
    message: Message,
    *,
    seen_at: datetime,
    redaction: Redaction = _DEFAULT,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> TaskRecord:
    """Read a task message, whose body is as it came: compressed, if it was.

    Args:
        redaction: What is hidden of its arguments.
        max_bytes: Most bytes that are kept of them, of each of both kinds.

    Raises:
        Unreadable: It is no task message, or not in JSON.
    """
    headers = message.headers or {}
    args, kwargs, embedded = _decode_body(message)
    id, name = _name(headers, "id"), _name(headers, "task")
    try:
        args, kwargs = redaction.redact_message(name, args, kwargs, headers)
        args, kwargs = truncate_arguments(jsonable(args), jsonable(kwargs), max_bytes)
    except (ValueError, RecursionError) as error:
        raise Unreadable(
            f"its arguments are nested deeper than {MAX_DEPTH} levels"
        ) from error
    return TaskRecord(
        id=id,
        name=name,
        queue=jsonable(work_queue(message.delivery_info or {})),
        args=args,
        kwargs=kwargs,
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


def quarantine_record(
    message: Message, *, reason: str, seen_at: datetime
) -> QuarantineRecord:
    """Keep a message as it came, with the reason why it could not be read."""
    body = _raw(message.body)
    if len(body) > MAX_KEPT:
        reason = f"{reason}; {MAX_KEPT} of its {len(body)} bytes are kept"
        body = body[:MAX_KEPT]
    headers = _printable(message.headers or {})
    content_type = jsonable(str(message.content_type))
    content_encoding = jsonable(str(message.content_encoding))
    routing_key = jsonable(work_queue(message.delivery_info or {}))
    identity = [headers, content_type, content_encoding, routing_key]
    digest = sha256(json.dumps(identity, sort_keys=True).encode() + b"\0")
    digest.update(body)
    return QuarantineRecord(
        digest=digest.hexdigest(),
        reason=jsonable(reason)[:MAX_REASON],
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        headers=headers,
        routing_key=routing_key,
        seen_at=seen_at,
    )


def is_probe(message: Message) -> bool:
    """Return whether a message is a probe of the check-up, and not a task."""
    headers = message.headers
    return isinstance(headers, Mapping) and PROBE in headers and "task" not in headers


def _decode_body(message: Message) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    if (unread := (message.headers or {}).get(UNREADABLE)) is not None:
        raise Unreadable(f"it is no message: {_error(unread)}")
    if message.content_type != _JSON:
        raise Unreadable(f"its content type is {message.content_type!r}, not {_JSON}")
    if str(message.content_encoding).lower() not in _UTF8:
        raise Unreadable(f"its encoding is {message.content_encoding!r}, not utf-8")
    whole = _decompressed_body(message)
    try:
        body = _decode(str(whole, "utf-8", "surrogatepass"))
    except (ValueError, TypeError, RecursionError) as error:
        raise Unreadable(f"its body is no JSON: {error}") from error
    shape = [type(part) for part in body] if isinstance(body, list) else None
    if shape != [list, dict, dict]:
        raise Unreadable("its body is not [args, kwargs, embedded]: no protocol 2")
    args, kwargs, embedded = body
    return args, kwargs, embedded


def _decompressed_body(message: Message) -> bytes:
    body = _raw(message.body or b"")
    if len(body) > MAX_BODY:
        raise Unreadable(f"its body has {len(body)} bytes, more than {MAX_BODY}")
    method = (message.headers or {}).get("compression")
    if not method:
        return body
    try:
        return decompress(body, method)
    except Exception as error:
        # Of any kind: each library has its own.
        raise Unreadable(f"its body cannot be decompressed: {error}") from error


def _error(unread: Any) -> str:
    text = unread.get("error") if isinstance(unread, Mapping) else unread
    return text if isinstance(text, str) else reprlib.repr(text)


def _name(headers: Mapping[str, Any], key: str) -> str:
    return _as_name(headers.get(key), key)


def _optional_name(headers: Mapping[str, Any], key: str) -> str | None:
    value = headers.get(key)
    return None if value is None else _as_name(value, key)


def _as_name(value: Any, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise Unreadable(f"its header {key!r} is {reprlib.repr(value)}, not a name")
    name = jsonable_text(value)
    if len(name) > MAX_NAME_LENGTH:
        raise Unreadable(
            f"its header {key!r} has {len(name)} characters, "
            f"more than {MAX_NAME_LENGTH}"
        )
    return name


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
        return jsonable(headers)
    except (ValueError, RecursionError):
        return {"repr": jsonable(_repr(headers))}


def _repr(headers: Any) -> str:
    try:
        return repr(headers)
    except RecursionError:
        return reprlib.repr(headers)
