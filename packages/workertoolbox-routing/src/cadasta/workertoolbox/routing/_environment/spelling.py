"""Find the known name that a misspelled one is most similar to."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

#: Lowest similarity at which an error suggests a known name: `SECRET_KEY` and
#: `security_key` have 0.82, `SETUP_LOGGING` is not similar to any setting.
SIMILAR = 0.7


def find_similar(
    name: str, known: Iterable[str], *, similarity: float = SIMILAR
) -> str | None:
    """Return the known name that is most similar to a name, in any case.

    Args:
        name: The unknown name.
        known: Names that exist.
        similarity: The lowest similarity to accept, from 0 to 1.

    Returns:
        None if no known name is that similar.
    """
    by_lowercase = {each.lower(): each for each in known}
    matches = get_close_matches(name.lower(), by_lowercase, n=1, cutoff=similarity)
    return by_lowercase[matches[0]] if matches else None
