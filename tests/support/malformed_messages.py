"""What lies in a queue, and no client of Celery's has put there."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

#: What S3 tells a queue of a new object, in short.
S3_NOTIFICATION = {
    "Records": [
        {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "exports"}, "object": {"key": "1.zip"}},
        }
    ]
}

#: A rule of EventBridge, in short.
EVENTBRIDGE_EVENT = {
    "version": "0",
    "detail-type": "Scheduled Event",
    "detail": {},
    "time": "",
}


def envelope(**changes: Any) -> dict[str, Any]:
    """Return a task as kombu's virtual transports put it into a queue.

    Args:
        changes: Keys of it, or of its properties.
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
        "headers": {"id": "intruder", "task": "export.note", "root_id": "intruder"},
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


_WHOLE = json.dumps(envelope())

#: Texts that are no message of kombu's.
MALFORMED_TEXTS: tuple[str, ...] = (
    "export the lot, please",
    "null",
    "7",
    "[]",
    "{}",
    "\ufeff{}",
    json.dumps(S3_NOTIFICATION),
    json.dumps(EVENTBRIDGE_EVENT),
    _WHOLE[: len(_WHOLE) // 2],
    _WHOLE + "}",
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

#: What is no text either.
MALFORMED_BYTES: tuple[bytes, ...] = (b"\xff\xfe{\x00}\x00", b"\x80\x04\x95N.", b"")

_NOTE = {"id": "intruder", "task": "export.note"}
_NOTHING: Any = [[], {}, {}]
_NO_TEXTS: tuple[Any, ...] = (None, 7, [], ["x"], {})
_NO_LIMITS: tuple[Any, ...] = (7, [1], ["a", None])
_NO_BODIES: tuple[Any, ...] = (None, 7, "x", [], {}, [1, 2], [[], {}, 7])

#: Headers and bodies of messages that no task can be made of.
MALFORMED_TASKS: tuple[tuple[dict[str, Any], Any], ...] = (
    ({"task": "export.note"}, _NOTHING),
    ({"task": "export.unknown"}, _NOTHING),
    *(({**_NOTE, "id": id}, _NOTHING) for id in _NO_TEXTS),
    *(({**_NOTE, "task": task}, _NOTHING) for task in _NO_TEXTS),
    *(({**_NOTE, "timelimit": limit}, _NOTHING) for limit in _NO_LIMITS),
    ({**_NOTE, "shadow": ["x"]}, _NOTHING),
    ({**_NOTE, "expires": []}, _NOTHING),
    *((_NOTE, body) for body in _NO_BODIES),
    ({}, {"task": ["x"], "id": "intruder"}),
    ({}, {"task": "export.note"}),
    ({}, {"task": "export.note", "id": []}),
)
