"""The record of a message that cannot be read."""

from __future__ import annotations

import json
import reprlib
from datetime import datetime
from hashlib import sha256
from typing import Any

from kombu.message import Message

from cadasta.workertoolbox.results._arguments.jsonable import jsonable
from cadasta.workertoolbox.results._arguments.redaction import Redaction
from cadasta.workertoolbox.results._headers import work_queue
from cadasta.workertoolbox.results._monitor.message_body import body_bytes
from cadasta.workertoolbox.results._monitor.records import QuarantineRecord
from cadasta.workertoolbox.results._monitor.size_limits import (
    MAX_QUARANTINED_BYTES,
    MAX_REASON_LENGTH,
)
from cadasta.workertoolbox.results._monitor.unread_message import (
    UnreadMessage,
    redact_unread,
)

_DEFAULT_REDACTION = Redaction()


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
            body_bytes(message.body), _jsonable_headers(message.headers or {}), reason
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
    routing_key = jsonable(work_queue(message.delivery_info or {}, headers))
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
