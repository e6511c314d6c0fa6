"""Find the declared queue whose name was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

#: Lowest similarity at which an error suggests a queue, as in `get_close_matches`.
_SIMILAR = 0.6


def find_similar_queue(name: str, declared: Iterable[str]) -> str | None:
    """Return the declared queue with the most similar name; None if all differ.

    The names of a fleet often begin with the same parts, as in `shop.orders` and
    `shop.mails`. Such parts do not make them similar.
    """
    nearest = max(declared, key=lambda each: _similarity(name, each), default=None)
    if nearest is None or _similarity(name, nearest) < _SIMILAR:
        return None
    return nearest


def _similarity(name: str, other: str) -> float:
    """Return how similar two names are after their common parts, from 0 to 1."""
    parts, others = name.split("."), other.split(".")
    while len(parts) > 1 and len(others) > 1 and parts[0] == others[0]:
        del parts[0], others[0]
    return SequenceMatcher(None, ".".join(parts), ".".join(others)).ratio()
