"""Ids of tasks and groups that the tables can hold."""

from __future__ import annotations

from cadasta.workertoolbox.results._database.tables import NAME_LENGTH
from cadasta.workertoolbox.results._errors import ResultNotStorable


def check_id(id: object) -> str:
    """Return an id as text.

    Raises:
        ResultNotStorable: No row can have this id: it is too long, or it contains a
            character that PostgreSQL does not store.
    """
    text = str(id)
    if problem := _problem(text):
        raise ResultNotStorable(
            f"no result can be stored for the id {text[:40]!r}…: it {problem}; leave "
            "task_id out, or give a shorter one"
        )
    return text


def _problem(text: str) -> str | None:
    if len(text) > NAME_LENGTH:
        return f"has {len(text)} characters, more than the limit of {NAME_LENGTH}"
    if "\0" in text:
        return "contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains a surrogate, which is not a character"
    return None
