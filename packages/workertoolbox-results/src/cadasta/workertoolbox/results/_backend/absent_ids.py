"""Ids of tasks that are not in the history."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice

#: Shortest time in seconds for which an id is remembered; the longest is three times as
#: long. Results stay in `celery_taskmeta` for longer before they expire.
GENERATION_S = 20.0

#: Maximum number of ids in a generation; there are two generations.
MAX_IDS = 10_000


class AbsentIds:
    """Ids that were published, or not found in the history, some seconds ago.

    They are kept in two generations, so that old ids are dropped without a search.
    Threads that change generations at the same time may drop ids too early, which costs
    a query.
    """

    def __init__(self) -> None:
        self._new: set[str] = set()
        self._old: set[str] = set()
        self._began_at = time.monotonic()

    def add(self, *ids: str) -> None:
        """Add ids; those above the maximum are left out."""
        self._age()
        self._new.update(islice(ids, MAX_IDS))

    def without(self, ids: Iterable[str]) -> list[str]:
        """Return the ids that may be in the history."""
        self._age()
        new, old = self._new, self._old
        return [id for id in ids if id not in new and id not in old]

    def _age(self) -> None:
        age_s = time.monotonic() - self._began_at
        if age_s < GENERATION_S and len(self._new) < MAX_IDS:
            return
        self._old = self._new if age_s < 2 * GENERATION_S else set()
        self._new = set()
        self._began_at = time.monotonic()
