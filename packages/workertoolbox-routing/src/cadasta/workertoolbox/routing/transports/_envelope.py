"""The envelope in which kombu's virtual transports put a message, as JSON."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from kombu.utils.json import loads

from cadasta.workertoolbox.routing.transports._unreadable import unreadable

#: What a body may be encoded as in its envelope; no name means text.
BASE64, TEXT = "base64", "utf-8"


def opened(raw: bytes | str) -> dict[str, Any]:
    """Return the message that lies in a queue, whatever that is.

    Anybody can put anything into a list of Redis, a queue of SQS or a folder: text, a
    notification of AWS, half a message. kombu raises on it, which ends a worker, and
    what Redis has handed out is lost. Here it arrives with all that lay in the queue
    as its body, without content type, and with the header `UNREADABLE`.
    """
    try:
        message = loads(raw)
        _check(message)
    except Exception as error:
        # Of any kind: kombu's JSON calls what builds dates, decimals, …
        return _sealed(raw, error)
    return dict(message)


def _check(message: Any) -> None:
    """Refuse what kombu, or Celery's consumer, would end on.

    Raises:
        ValueError: Says what is wrong.
    """
    match message:
        case {"body": body, "properties": {"delivery_info": dict()} as properties}:
            headers = message.get("headers")
        case _:
            raise ValueError("no envelope with body, properties and delivery_info")
    if not isinstance(headers, dict | None):
        raise ValueError("headers are no object")
    for name in ("content-type", "content-encoding"):
        if not isinstance(message.get(name), str | None):
            raise ValueError(f"{name} is no text")
    encoding = properties.get("body_encoding")
    if not isinstance(encoding, str | None):
        raise ValueError("body_encoding is no text")
    if encoding == BASE64 and isinstance(body, str):
        b64decode(body, validate=True)
    elif (encoding or TEXT).lower() != TEXT:
        raise ValueError(f"body_encoding {encoding!r} is not known")
    elif not isinstance(body, str | bytes):
        raise ValueError("body is no text")
    elif isinstance(body, str):
        body.encode()


def _sealed(raw: bytes | str, error: Exception) -> dict[str, Any]:
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    return {
        "body": b64encode(data).decode(),
        "content-type": None,
        # Whoever decodes it gets text if it is some, and no error if it is none.
        "content-encoding": TEXT if _is_text(data) else "binary",
        "headers": unreadable(error),
        "properties": {"body_encoding": BASE64, "delivery_info": {}},
    }


def _is_text(data: bytes) -> bool:
    try:
        data.decode(TEXT)
    except UnicodeDecodeError:
        return False
    return True
