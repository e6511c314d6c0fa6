"""The header that describes a message as a run of an entry of beat's schedule.

The description of a run is a header of the message, a dictionary:

- `entry`: the name of the entry,
- `id`: the id of the task, because tasks may pass their headers on,
- `schedule` and `timezone`: see `schedule_text` in `_schedule_entries.py`,
- `due_at` and `next_at`: when this run and the next one are due,
- `started_at`: when beat started, which tells two processes of beat apart,
- `max_interval_s`: the longest time in seconds that beat sleeps,
- `entries`: in some messages, all entries of the schedule; see `_listing.py`.

Instants are in ISO 8601. They are None if the schedule does not give them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from cadasta.workertoolbox.routing._headers import BEAT

#: The description of the run that beat is sending, by the name of its task. It is taken
#: by the first message of that name.
_sending: ContextVar[dict[str, dict[str, Any]] | None] = ContextVar(
    "workertoolbox_scheduled_run", default=None
)


@contextmanager
def sending(task: str, description: dict[str, Any]) -> Iterator[None]:
    """Describe the next message of a task as a run of beat's schedule."""
    token = _sending.set({task: description})
    try:
        yield
    finally:
        _sending.reset(token)


def describe_message(headers: dict[str, Any]) -> None:
    """Add the description of its run to a message that beat is sending.

    A retry keeps the description, which Celery passes on, and other tasks do not.
    """
    pending = _sending.get()
    if pending and (description := pending.pop(headers["task"], None)) is not None:
        headers[BEAT] = {**description, "id": headers["id"]}
    elif BEAT in headers:
        match headers.pop(BEAT):
            case {"id": id, **rest} if id == headers["id"]:
                rest.pop("entries", None)
                headers[BEAT] = {**rest, "id": id}
