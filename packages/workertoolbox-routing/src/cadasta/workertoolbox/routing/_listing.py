"""The list of beat's entries, which some of its messages carry."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cadasta.workertoolbox.routing._scheduled_runs import describe_entry

#: Seconds after which the list is sent again: the copy of a message can get lost.
REPEAT_S = 300.0

#: Maximum size of the list in bytes, as JSON: brokers limit the size of headers.
MAX_BYTES = 16 * 1024


class Listing:
    """Lists the entries of a scheduler if they have changed, and now and then.

    Each item has the name of the entry, its task, schedule, time zone and next run. A
    long list has the names only, and a very long one is left out.

    Args:
        scheduler: One of Celery's `Scheduler` class.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._listed: Any = None
        self._listed_at = 0.0
        self._next_at: dict[str, str | None] = {}

    def note(self, description: dict[str, Any]) -> None:
        """Remember when the next run of an entry is due."""
        self._next_at[description["entry"]] = description["next_at"]

    def find_due(self, now: datetime) -> Sequence[Sequence[str | None]] | None:
        """Return the list, or None if it is not to be sent now."""
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
        return _limited([self._describe(entry, now) for entry in entries.values()])

    def confirm(self) -> None:
        """Note that the list was sent."""
        self._listed = getattr(self._scheduler, "old_schedulers", None)
        self._listed_at = time.monotonic()

    def _describe(self, entry: Any, now: datetime) -> Sequence[str | None]:
        found = describe_entry(entry, now)
        # The copy does not know the runs since it was made.
        next_at = self._next_at.get(found["entry"], found["due_at"])
        return [
            *(found["entry"], str(entry.task), found["schedule"], found["timezone"]),
            next_at,
        ]


def _limited(
    items: Sequence[Sequence[str | None]],
) -> Sequence[Sequence[str | None]] | None:
    for some in (items, [item[:1] for item in items]):
        if len(json.dumps(some)) <= MAX_BYTES:
            return some
    return None
