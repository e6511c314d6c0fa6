"""Ids in queries."""

from __future__ import annotations

from cadasta.workertoolbox.results._arguments.jsonable import jsonable_text


def stored_id(id: str) -> str:
    """Return an id in the form in which it is stored.

    Raises:
        TypeError: It is not a text, which PostgreSQL would not compare with one.
    """
    if not isinstance(id, str):
        raise TypeError(f"ids must be strings, got {id!r}")
    return jsonable_text(id)
