"""Groups and deduplication ids of task messages in FIFO queues of SQS."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

from cadasta.workertoolbox.routing._headers import REFUSED

#: A message group id or deduplication id: 1 to 128 letters, digits and punctuation
#: marks, according to the API reference of SendMessage.
_VALID_ID = re.compile(r"[!-~]{1,128}")


def set_fifo_properties(message: dict[str, Any]) -> None:
    """Set the group and the deduplication id of a task message for a FIFO queue.

    The group is the workflow: its tasks keep their order, and other tasks do not wait
    for them. A message that is sent again within five minutes is a duplicate; a retry
    of the task is not, and neither is the copy that says that the task was refused.
    """
    headers = message.get("headers") or {}
    id = headers.get("id")
    if not id:
        return
    properties = message["properties"]
    root = str(headers.get("root_id") or id)
    nesting = headers.get("replaced_task_nesting") or 0
    attempt = f"{id}:{nesting}:{headers.get('retries') or 0}"
    if REFUSED in headers:
        attempt += ":refused"
    properties.setdefault("MessageGroupId", _valid_id(root))
    properties.setdefault("MessageDeduplicationId", _valid_id(attempt))


def _valid_id(text: str) -> str:
    return text if _VALID_ID.fullmatch(text) else sha256(text.encode()).hexdigest()
