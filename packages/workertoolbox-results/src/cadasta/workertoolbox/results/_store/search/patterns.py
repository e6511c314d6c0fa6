"""Texts with wildcards in SQL: `*` stands for any characters, `?` for one."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement

from cadasta.workertoolbox.results._arguments.jsonable import jsonable_text

_WILDCARDS = {"*": "%", "?": "_"}

#: Characters that a pattern of SQLite's GLOB encloses in brackets.
_IN_BRACKETS = "*?["


def matches(
    column: ColumnElement[str], pieces: Iterable[tuple[str, bool]], dialect: str
) -> ColumnElement[bool]:
    """Return the condition that a text matches a pattern; case matters.

    Args:
        pieces: The characters of the pattern, each with whether it is a wildcard.
    """
    known = [*pieces]
    if known == [("*", True)]:
        return column.is_not(None)
    if dialect == "sqlite":
        # LIKE ignores case there.
        return column.op("GLOB", is_comparison=True)(glob_pattern(known))
    return column.like(like_pattern(known), escape="\\")


def like_pattern(pieces: Iterable[tuple[str, bool]]) -> str:
    """Return a pattern for LIKE, with backslashes before literal wildcards."""
    return "".join(
        _WILDCARDS[each]
        if is_wildcard
        else f"\\{each}"
        if each in r"%_\\"
        else jsonable_text(each).replace("\\", r"\\")
        for each, is_wildcard in pieces
    )


def glob_pattern(pieces: Iterable[tuple[str, bool]]) -> str:
    """Return a pattern for GLOB of SQLite."""
    return "".join(
        each
        if is_wildcard
        else f"[{each}]"
        if each in _IN_BRACKETS
        else jsonable_text(each)
        for each, is_wildcard in pieces
    )
