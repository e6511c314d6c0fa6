"""Searches in all days of the history, by the ids of tasks and of their relatives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Literal, NamedTuple

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Date,
    Text,
    and_,
    bindparam,
    or_,
    select,
    text,
)

from cadasta.workertoolbox.results._database.tables import history

_KINDS = ("ids", "roots", "groups", "parents")

_CALL = text(
    "SELECT id, root_id, group_id, day"
    " FROM workertoolbox_find_archived(:ids, :roots, :groups, :parents)"
).bindparams(*(bindparam(kind, type_=ARRAY(Text)) for kind in _KINDS))

_SEARCH = text(
    "SELECT id, root_id, group_id, day"
    " FROM workertoolbox_search_days('id', :ids, :newest, :first)"
).bindparams(bindparam("ids", type_=ARRAY(Text)), bindparam("first", type_=Date))


_DAYS = text(
    "SELECT DISTINCT day FROM workertoolbox_search_days(:kind, :keys, false, :first)"
).bindparams(bindparam("keys", type_=ARRAY(Text)), bindparam("first", type_=Date))


class Archived(NamedTuple):
    """A task in the history; its day says which table it is in on PostgreSQL."""

    id: str
    root_id: str | None
    group_id: str | None
    day: date


def find_archived(
    connection: Connection,
    *,
    ids: Sequence[str] = (),
    roots: Sequence[str] = (),
    groups: Sequence[str] = (),
    parents: Sequence[str] = (),
) -> Sequence[Archived]:
    """Return the tasks that have one of the ids, the roots, the groups or the parents.

    The same task may occur more than once.
    """
    keys = {"ids": ids, "roots": roots, "groups": groups, "parents": parents}
    if not any(keys.values()):
        return []
    if connection.dialect.name == "postgresql":
        rows = connection.execute(_CALL, {kind: [*each] for kind, each in keys.items()})
        return [Archived(*row) for row in rows]
    columns = history.c
    is_root = and_(columns.id.in_(roots), columns.root_id == columns.id)
    has_root = and_(columns.root_id.in_(roots), columns.root_id != columns.id)
    conditions: dict[str, ColumnElement[bool]] = {
        "ids": columns.id.in_(ids),
        "roots": or_(is_root, has_root),
        "groups": columns.group_id.in_(groups),
        "parents": columns.parent_id.in_(parents),
    }
    wanted = [condition for kind, condition in conditions.items() if keys[kind]]
    query = select(columns.id, columns.root_id, columns.group_id, columns.day)
    return [Archived(*row) for row in connection.execute(query.where(or_(*wanted)))]


def find_last_ends(connection: Connection, ids: Sequence[str]) -> Sequence[Archived]:
    """Return the newest end of each of the ids that are in the history.

    The newest days are searched first.
    """
    found = sorted(_search(connection, ids, newest=True), key=lambda end: end.day)
    return [*{end.id: end for end in found}.values()]


def find_ends_since(
    connection: Connection, ids: Sequence[str], since: date
) -> Sequence[Archived]:
    """Return the tasks in the history that have one of the ids, from a day on.

    SQLite, which has one table, searches all days.
    """
    return _search(connection, ids, since=since)


def _search(
    connection: Connection,
    ids: Sequence[str],
    *,
    newest: bool = False,
    since: date = date.min,
) -> Sequence[Archived]:
    if not ids:
        return []
    if connection.dialect.name != "postgresql":
        return find_archived(connection, ids=ids)
    parameters = {"ids": [*ids], "newest": newest, "first": since}
    return [Archived(*row) for row in connection.execute(_SEARCH, parameters)]


def find_days_since(
    connection: Connection,
    kind: Literal["member", "group"],
    keys: Sequence[str],
    since: date,
) -> Sequence[date]:
    """Return the days on which tasks of workflows ended, from a day on.

    Args:
        connection: To PostgreSQL.
        kind: What the keys are: ids of roots, whose own days are left out, or ids of
            groups.
    """
    parameters = {"kind": kind, "keys": [*keys], "first": since}
    return sorted(connection.scalars(_DAYS, parameters))


def are_on(days: Iterable[date]) -> ColumnElement[bool]:
    """Return the condition that a row of the history is on one of the days.

    Its values are literals, so that PostgreSQL plans and locks only their tables.
    """
    day = history.c.day
    known = sorted({*days})
    return day.in_(
        bindparam("days", known, day.type, expanding=True, literal_execute=True)
    )
