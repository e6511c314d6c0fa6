"""Values that a message becomes: a task, or an entry in the quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Step:
    """A task that has its id and its name, and no message yet.

    Attributes:
        parent_id: The step that it comes after, where it comes after one only.
    """

    id: str
    name: str
    parent_id: str | None


class TaskRecord(NamedTuple):
    """One task message: columns of `workertoolbox_task`.

    Attributes:
        args: A list, or the text that is shown instead; never None.
        kwargs: A dict, or the text that is shown instead; never None.
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


Record = TaskRecord | QuarantineRecord
