"""The list of beat's entries, which some of its messages carry."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cadasta.workertoolbox.routing._schedule_entries import MAX_TEXT, describe_entry
from cadasta.workertoolbox.routing._stored_entries import (
    StoredEntry,
    find_stored_entries,
)

_logger = logging.getLogger(__name__)

#: Seconds after which the list is sent again: the copy of a message can get lost.
REPEAT_S = 300.0

#: Maximum size of the list in bytes, as JSON: brokers limit the size of headers.
MAX_BYTES = 16 * 1024

#: With more entries a list is too long: each takes seven bytes or more, as `["a"], `.
_MAX_ENTRIES = MAX_BYTES // 7 + 1


class Listing:
    """Lists the entries of a scheduler if they have changed, and every five minutes.

    Each item has the name of the entry, its task, schedule, time zone and next run, or
    only the name if the rest is not known. A list that would be too long has the rest
    for some of the entries, and the next list for those that follow. A list whose names
    alone are too long is not sent.

    The database of django-celery-beat is read when its scheduler has read it, too.

    Args:
        scheduler: An instance of Celery's `Scheduler`.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._loaded: Any = None
        self._stored: Mapping[str, StoredEntry] | None = None
        self._listed_at: float | None = None
        self._has_failed = False
        #: What is known of the next runs since the schedule was loaded.
        self._next_at: dict[str, str | None] = {}
        #: The runs that were refused, with the schedule and time zone of the entry.
        self._refused: dict[str, tuple[Any, Any, str | None]] = {}
        #: The entry with which the description of a long list begins, and the number
        #: of entries that the list being sent describes.
        self._start = self._described = 0

    def find_due(
        self, description: dict[str, Any], now: datetime
    ) -> Sequence[Sequence[str | None]] | None:
        """Return the list, or None if it is not to be sent now.

        Args:
            description: That of the entry whose message is being sent.
        """
        # A copy that `Scheduler.tick` makes. Reading the schedule itself would query
        # the database of django-celery-beat.
        loaded = getattr(self._scheduler, "old_schedulers", None)
        if not isinstance(loaded, dict):
            return None
        if loaded is not self._loaded:
            # The new copy knows the runs that were sent.
            self._loaded, self._stored, self._next_at = loaded, None, {}
            self._listed_at = None
        if self._listed_at is not None and (
            time.monotonic() < self._listed_at + REPEAT_S
        ):
            return None
        items = self._items(loaded, description, now)
        if items is None:
            self._listed_at = time.monotonic()
        return items

    def confirm(self, description: dict[str, Any]) -> None:
        """Note that a message was sent."""
        self._next_at[description["entry"]] = description["next_at"]
        self._refused.pop(description["entry"], None)
        if "entries" in description:
            self._start += self._described
            self._listed_at = time.monotonic()

    def refuse(self, description: dict[str, Any]) -> None:
        """Note that a message was not sent: its run stays due."""
        plan = description["schedule"], description["timezone"]
        if self._refused.get(description["entry"], ())[:2] != plan:
            self._refused[description["entry"]] = (*plan, description["due_at"])

    def _items(
        self, loaded: Mapping[str, Any], description: dict[str, Any], now: datetime
    ) -> Sequence[Sequence[str | None]] | None:
        """Return the list, or None if the entries cannot be read or are too many."""
        if self._stored is None and (stored := self._read_stored()) is not None:
            self._stored = stored
            self._next_at |= {
                name[:MAX_TEXT]: None for name, each in stored.items() if each.is_over
            }
        if self._stored is None:
            return None
        entries = {**self._stored, **loaded}
        self._refused = {
            name: run for name, run in self._refused.items() if name in entries
        }
        # The entries do not know the runs since they were loaded.
        next_at = {**self._next_at, description["entry"]: description["next_at"]}
        enabled = [each for each in entries.values() if _is_enabled(each)]
        return self._limited(enabled, next_at, now)

    def _limited(
        self, entries: Sequence[Any], next_at: Mapping[str, str | None], now: datetime
    ) -> Sequence[Sequence[str | None]] | None:
        """Return the names of entries, and the rest of as many as there is room for."""
        items: list[Sequence[str | None]] = [
            [str(each.name)[:MAX_TEXT]] for each in entries
        ]
        room = MAX_BYTES - len(json.dumps(items))
        if room < 0:
            return None
        self._described = 0
        for offset in range(len(entries)):
            place = (self._start + offset) % len(entries)
            item = _item(entries[place], next_at, self._refused, now)
            room -= len(json.dumps(item)) - len(json.dumps(items[place]))
            if room < 0:
                break
            items[place] = item
            self._described += 1
        # An entry for which there is never room does not hold up the others.
        self._described = max(1, self._described)
        return items

    def _read_stored(self) -> Mapping[str, StoredEntry] | None:
        try:
            return find_stored_entries(self._scheduler, _MAX_ENTRIES)
        except Exception:
            # Without the others, the list would show them as removed.
            if not self._has_failed:
                _logger.warning("cannot read the entries of beat", exc_info=True)
            self._has_failed = True
            return None


def _is_enabled(entry: Any) -> bool:
    """Return whether an entry of django-celery-beat is still enabled."""
    return bool(getattr(getattr(entry, "model", None), "enabled", True))


def _item(
    entry: Any,
    next_at: Mapping[str, str | None],
    refused: Mapping[str, tuple[Any, Any, str | None]],
    now: datetime,
) -> Sequence[str | None]:
    try:
        found = describe_entry(entry, now)
    except Exception:
        # Only the schedule of this entry is unknown; beat logs that when it is due.
        return [str(entry.name)[:MAX_TEXT]]
    *plan, due_at = refused.get(found["entry"], (None, None, None))
    if plan != [found["schedule"], found["timezone"]]:
        due_at = found["due_at"]
    due_at = next_at.get(found["entry"], due_at)
    fields = ("entry", "task", "schedule", "timezone")
    return [*({**found, "task": str(entry.task)}[name] for name in fields), due_at]
