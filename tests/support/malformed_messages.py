"""Messages that no Celery client publishes, and that a queue can contain anyway."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

#: The notification that S3 sends about a new object, shortened.
S3_NOTIFICATION = {
    "Records": [
        {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "exports"}, "object": {"key": "1.zip"}},
        }
    ]
}

#: The event that a rule of EventBridge sends, shortened.
EVENTBRIDGE_EVENT = {
    "version": "0",
    "detail-type": "Scheduled Event",
    "detail": {},
    "time": "",
}


def envelope(**changes: Any) -> dict[str, Any]:
    """Return a task in the envelope of kombu's virtual transports.

    Args:
        changes: Values for keys of the envelope or of its properties.
    """
    properties = {
        "body_encoding": "base64",
        "delivery_info": {"exchange": "task_exchange", "routing_key": "export"},
        "delivery_mode": 2,
        "delivery_tag": "9a5c8a1e",
        "priority": 0,
    }
    message = {
        "body": b64encode(b"[[], {}, {}]").decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"id": "malformed", "task": "export.note", "root_id": "malformed"},
        "properties": properties,
    }
    for key, value in changes.items():
        if key in properties:
            properties[key] = value
        else:
            message[key.replace("_", "-")] = value
    return message


def _without(key: str) -> dict[str, Any]:
    message = envelope()
    for part in (message, message["properties"]):
        part.pop(key, None)
    return message


_VALID = json.dumps(envelope())

#: Texts that kombu cannot parse.
MALFORMED_TEXTS: tuple[str, ...] = (
    "export the lot, please",
    "null",
    "7",
    "[]",
    "{}",
    "\ufeff{}",
    json.dumps(S3_NOTIFICATION),
    json.dumps(EVENTBRIDGE_EVENT),
    _VALID[: len(_VALID) // 2],
    _VALID + "}",
    json.dumps([envelope()]),
    *(json.dumps(_without(key)) for key in ("body", "properties", "delivery_info")),
    json.dumps(envelope(body=None)),
    json.dumps(envelope(body=["x"])),
    json.dumps(envelope(body="abcde")),
    json.dumps(envelope(body="!!!!")),
    json.dumps(envelope(body="\ud800")),
    json.dumps(envelope(body_encoding="klingon")),
    json.dumps(envelope(body_encoding=64)),
    json.dumps(envelope(body="\ud800", body_encoding="utf-8")),
    json.dumps(envelope(headers=[])),
    json.dumps(envelope(headers="{}")),
    json.dumps(envelope(headers={"at": {"__type__": "datetime", "__value__": "x"}})),
    json.dumps(envelope(headers={"at": {"__type__": "x", "__value__": "x"}})),
    json.dumps(envelope(properties=[])),
    json.dumps(envelope(delivery_info="x")),
    json.dumps(envelope(content_type=["application/json"])),
    json.dumps(envelope(content_encoding={})),
    '{"body": "", "properties": {"delivery_info": {}}, "x": ' + "9" * 5000 + "}",
    "[" * 20_000,
)

#: Bytes that are not a text, or empty.
MALFORMED_BYTES: tuple[bytes, ...] = (b"\xff\xfe{\x00}\x00", b"\x80\x04\x95N.", b"")

_HEADERS = {"id": "malformed", "task": "export.note"}
_NO_ARGUMENTS: Any = [[], {}, {}]
_INVALID_TEXTS: tuple[Any, ...] = (None, 7, [], ["x"], {})
_INVALID_LIMITS: tuple[Any, ...] = (7, [1], ["a", None])
_INVALID_BODIES: tuple[Any, ...] = (None, 7, "x", [], {}, [1, 2], [[], {}, 7])

#: Headers and bodies of messages from which Celery cannot create a task.
MALFORMED_TASKS: tuple[tuple[dict[str, Any], Any], ...] = (
    ({"task": "export.note"}, _NO_ARGUMENTS),
    ({"task": "export.unknown"}, _NO_ARGUMENTS),
    *(({**_HEADERS, "id": id}, _NO_ARGUMENTS) for id in _INVALID_TEXTS),
    *(({**_HEADERS, "task": task}, _NO_ARGUMENTS) for task in _INVALID_TEXTS),
    *(({**_HEADERS, "timelimit": limit}, _NO_ARGUMENTS) for limit in _INVALID_LIMITS),
    ({**_HEADERS, "shadow": ["x"]}, _NO_ARGUMENTS),
    ({**_HEADERS, "expires": []}, _NO_ARGUMENTS),
    *((_HEADERS, body) for body in _INVALID_BODIES),
    ({}, {"task": ["x"], "id": "malformed"}),
    ({}, {"task": "export.note"}),
    ({}, {"task": "export.note", "id": []}),
)
