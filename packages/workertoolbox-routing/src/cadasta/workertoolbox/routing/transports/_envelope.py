"""The JSON envelope that kombu's virtual transports put a message into."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from kombu.utils.json import loads

from cadasta.workertoolbox.routing.transports._unreadable import unreadable_headers

#: Encodings of a body in its envelope. Without one the body is text.
BASE64, TEXT = "base64", "utf-8"


def parse_envelope(raw: bytes | str) -> dict[str, Any]:
    """Return the message in an envelope, or a substitute for a malformed envelope.

    Any client can put anything into a list of Redis, a queue of SQS or a folder: plain
    text, a notification of AWS, half a message. kombu then raises an error, which stops
    the worker; on Redis the message has already been removed. The substitute has the
    raw content as its body, no content type, and the header `UNREADABLE`.
    """
    try:
        message = loads(raw)
        _check_envelope(message)
    except Exception as error:
        # Any error, because kombu's JSON decoder also constructs dates, decimals and
        # other objects.
        return _substitute(raw, error)
    return dict(message)


def _check_envelope(message: Any) -> None:
    """Refuse an envelope that kombu or Celery's consumer would fail on.

    Raises:
        ValueError: The message says what is wrong.
    """
    match message:
        case {"body": body, "properties": {"delivery_info": dict()} as properties}:
            headers = message.get("headers")
        case _:
            raise ValueError(
                "the envelope must have body, properties and delivery_info"
            )
    if not isinstance(headers, dict | None):
        raise ValueError(f"headers must be an object, got {_kind(headers)}")
    for name in ("content-type", "content-encoding"):
        if not isinstance(value := message.get(name), str | None):
            raise ValueError(f"{name} must be a string, got {_kind(value)}")
    encoding = properties.get("body_encoding")
    if not isinstance(encoding, str | None):
        raise ValueError(f"body_encoding must be a string, got {_kind(encoding)}")
    if encoding == BASE64 and isinstance(body, str):
        b64decode(body, validate=True)
    elif (encoding or TEXT).lower() != TEXT:
        raise ValueError(f"body_encoding {encoding!r} is unknown")
    elif not isinstance(body, str | bytes):
        raise ValueError(f"body must be a string, got {_kind(body)}")
    elif isinstance(body, str):
        body.encode()


def _kind(value: Any) -> str:
    return type(value).__name__


def _substitute(raw: bytes | str, error: Exception) -> dict[str, Any]:
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    return {
        "body": b64encode(data).decode(),
        "content-type": None,
        # A consumer that decodes the body gets text if it is UTF-8, or else bytes.
        "content-encoding": TEXT if _is_text(data) else "binary",
        "headers": unreadable_headers(error),
        "properties": {"body_encoding": BASE64, "delivery_info": {}},
    }


def _is_text(data: bytes) -> bool:
    try:
        data.decode(TEXT)
    except UnicodeDecodeError:
        return False
    return True
