"""The list of beat's entries, which some of its messages carry."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cadasta.workertoolbox.routing._schedule_entries import MAX_TEXT, describe_entry

#: Seconds after which the list is sent again: the copy of a message can get lost.
REPEAT_S = 300.0

#: Maximum size of the list in bytes, as JSON: brokers limit the size of headers.
MAX_BYTES = 16 * 1024


class Listing:
    """Lists the entries of a scheduler if they have changed, and every five minutes.

    Each item has the name of the entry, its task, schedule, time zone and next run. In
    a long list, or if the rest is not known, it has only the name. A list whose names
    alone are too long is not sent.

    Args:
        scheduler: An instance of Celery's `Scheduler`.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._listed: Any = None
        self._listed_at = 0.0
        self._next_at: dict[str, str | None] = {}

    def find_due(
        self, description: dict[str, Any], now: datetime
    ) -> Sequence[Sequence[str | None]] | None:
        """Return the list, or None if it is not to be sent now.

        Args:
            description: That of the entry whose message is being sent.
        """
        # A copy that `Scheduler.tick` makes. Reading the schedule itself would query
        # the database of django-celery-beat.
        entries = getattr(self._scheduler, "old_schedulers", None)
        if not isinstance(entries, dict):
            return None
        is_known = entries is self._listed
        if is_known and time.monotonic() < self._listed_at + REPEAT_S:
            return None
        if not is_known:
            self._next_at = {
                name: at for name, at in self._next_at.items() if name in entries
            }
        # The copy does not know the runs since it was made.
        next_at = {**self._next_at, description["entry"]: description["next_at"]}
        return _limited([_item(each, next_at, now) for each in entries.values()])

    def confirm(self, description: dict[str, Any]) -> None:
        """Note that a message was sent.

        If the task of an entry is refused, its run stays due.
        """
        self._next_at[description["entry"]] = description["next_at"]
        if "entries" in description:
            self._listed = getattr(self._scheduler, "old_schedulers", None)
            self._listed_at = time.monotonic()


def _item(
    entry: Any, next_at: Mapping[str, str | None], now: datetime
) -> Sequence[str | None]:
    try:
        found = describe_entry(entry, now)
    except Exception:
        # Only the schedule of this entry is unknown; beat logs that when it is due.
        return [str(entry.name)[:MAX_TEXT]]
    due_at = next_at.get(found["entry"], found["due_at"])
    fields = ("entry", "task", "schedule", "timezone")
    return [*({**found, "task": str(entry.task)}[name] for name in fields), due_at]


def _limited(
    items: Sequence[Sequence[str | None]],
) -> Sequence[Sequence[str | None]] | None:
    for some in (items, [item[:1] for item in items]):
        if len(json.dumps(some)) <= MAX_BYTES:
            return some
    return None
