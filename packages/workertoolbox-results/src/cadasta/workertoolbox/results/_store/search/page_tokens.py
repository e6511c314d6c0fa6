"""Pages of a search, and the tokens from which the next page continues.

A token is the last task of a page, in the form that the search is ordered by. Therefore
tasks that arrive later do not move the tasks of the next page.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

from cadasta.workertoolbox.results._query.nodes import Node
from cadasta.workertoolbox.results._query_errors import InvalidPage
from cadasta.workertoolbox.results._store.rows.dated_ids import DatedId
from cadasta.workertoolbox.results._task import Task

#: The version of the form of tokens.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search.

    Attributes:
        tasks: The tasks, newest first.
        next: The token of the next page; None on the last page.
        since: The start of the window of all pages; None without one.
        until: Its end, likewise.
    """

    tasks: Sequence[Task]
    next: str | None
    since: datetime | None = None
    until: datetime | None = None


class Position(NamedTuple):
    """Where a page ends.

    Attributes:
        last: The last task of the page.
        is_planned: Whether that is a planned step.
        since: The window of the first page.
        until: Its end.
    """

    last: DatedId
    is_planned: bool
    since: datetime | None
    until: datetime | None


def write_token(position: Position, query: Node, *, internal: bool) -> str:
    """Return a token for URLs."""
    last, is_planned, *window = position
    fields = [_VERSION, _digest(query, internal=internal), int(is_planned), last.id]
    instants = [each and each.isoformat() for each in (last.at, *window)]
    content = json.dumps([*fields, *instants], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def read_token(token: str, query: Node, *, internal: bool) -> Position:
    """Return the position in a token.

    Raises:
        InvalidPage: The token is malformed, or belongs to another query.
    """
    try:
        version, digest, is_planned, id, *instants = _decoded(token)
        at, since, until = (each and _instant(each) for each in instants)
        if version != _VERSION or not isinstance(id, str) or at is None:
            raise InvalidPage(token)
        id.encode()
    except (ValueError, TypeError, RecursionError):
        raise InvalidPage(token) from None
    if digest != _digest(query, internal=internal):
        raise InvalidPage(token, "belongs to another query")
    return Position(DatedId(at, id), bool(is_planned), since, until)


def _decoded(token: str) -> Any:
    padded = token.encode("ascii") + b"=" * (-len(token) % 4)
    return json.loads(base64.b64decode(padded, b"-_", validate=True))


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error


def _digest(query: Node, *, internal: bool) -> str:
    return sha256(f"{int(internal)} {query}".encode("utf-8", "replace")).hexdigest()[
        :16
    ]
