"""Reading of the bodies of task messages."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from kombu.message import Message

from cadasta.workertoolbox.results._headers import UNREADABLE
from cadasta.workertoolbox.results._monitor.decompression import decompress
from cadasta.workertoolbox.results._monitor.size_limits import MAX_BODY_BYTES
from cadasta.workertoolbox.results._monitor.unreadable import UnreadableMessage
from cadasta.workertoolbox.results._monitor.value_count import (
    has_more_values,
    max_values,
)

#: Content type and encodings of task messages; ASCII is a subset of UTF-8.
_JSON = "application/json"
_UTF8 = {"utf-8", "utf8", "us-ascii", "none"}

# `json.loads` takes twice as long, as it examines its options first.
_decode = json.JSONDecoder().decode


class Body(NamedTuple):
    """The three parts of the body of a task message, in Celery's protocol 2."""

    args: list[Any]
    kwargs: dict[str, Any]
    embedded: dict[str, Any]


def read_body(message: Message) -> Body:
    """Return the decoded body of a task message.

    Raises:
        UnreadableMessage: It is not that of a task message in JSON.
    """
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
    return Body(*body)


def _decompressed_body(message: Message) -> bytes:
    body = body_bytes(message.body or b"")
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


def body_bytes(body: Any) -> bytes:
    """Return a body, which may be a text, as bytes."""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    text = body if isinstance(body, str) else repr(body)
    return text.encode("utf-8", "surrogatepass")
