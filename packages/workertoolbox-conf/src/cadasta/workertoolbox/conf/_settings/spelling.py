"""What somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like a name, whatever its case."""
    return max(known, key=lambda candidate: likeness(name, candidate))


def likeness(name: str, other: str) -> float:
    """Return how alike two names are, from 0 to 1, whatever their case."""
    return SequenceMatcher(None, name.lower(), other.lower()).ratio()
