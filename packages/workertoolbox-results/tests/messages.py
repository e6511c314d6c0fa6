"""Task messages in the form in which a monitor receives them from kombu."""

from __future__ import annotations

import json
from typing import Any

from kombu.message import Message

from cadasta.workertoolbox.results._monitor.decompression import keep_compressed

PUBLISHED_AT = "2026-01-02T03:04:05.000006+00:00"


def message(
    body: Any = None,
    *,
    content_type: str | None = "application/json",
    content_encoding: Any = "utf-8",
    routing_key: str = "export",
    **headers: Any,
) -> Message:
    """Return a task message; a body other than text or bytes is encoded as JSON."""
    if body is None:
        body = [["a"], {"b": 1}, {"callbacks": None, "chain": None}]
    if not isinstance(body, str | bytes):
        body = json.dumps(body)
    defaults: dict[str, Any] = {
        "id": "1",
        "task": "export.project",
        "root_id": "1",
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "workertoolbox_published_at": PUBLISHED_AT,
    }
    return keep_compressed(Message)(
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        delivery_info={"routing_key": routing_key},
        headers={**defaults, **headers},
    )
