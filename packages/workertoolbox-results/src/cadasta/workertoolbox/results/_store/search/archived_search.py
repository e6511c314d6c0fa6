"""Searches in the history for the tasks that match a query."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from datetime import date, datetime, timedelta
from typing import Any

from celery.states import SUCCESS
from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select, text

from cadasta.workertoolbox.results._database.archived import find_archived
from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import (
    LONG_S,
    RUN,
    day_value,
    history,
)
from cadasta.workertoolbox.results._history.clocks import MAX_SKEW
from cadasta.workertoolbox.results._history.conditions import is_live
from cadasta.workertoolbox.results._store.rows.dated_ids import (
    EPOCH,
    DatedId,
    fetch_ids,
)
from cadasta.workertoolbox.results._store.rows.day_windows import DayWindow, day_windows
from cadasta.workertoolbox.results._store.rows.filters import (
    Condition,
    is_internal,
    of_partial_index,
)
from cadasta.workertoolbox.results._store.rows.reading import fetch_ended, select_ended
from cadasta.workertoolbox.results._store.rows.value_days import KINDS, find_days
from cadasta.workertoolbox.results._store.search.matching_values import (
    MAX_SCANS,
    find_matching_values,
)
from cadasta.workertoolbox.results._store.search.order import (
    merged,
    newest_first,
    within,
)
from cadasta.workertoolbox.results._store.search.query_conditions import (
    least_number,
    query_condition,
    requires,
)
from cadasta.workertoolbox.results._store.search.request import Search

#: Fields that relate tasks, with the arguments of `find_archived`.
_RELATIONS = {"id": "ids", "root": "roots", "parent": "parents", "group": "groups"}

#: Days by which the day of a row may differ from that of its end.
_DAY_SLACK = timedelta(days=1)

#: Values by their kind in `workertoolbox_day_value`.
Values = Mapping[str, Collection[str]]


def add_matching(
    connection: Connection, search: Search, found: Sequence[DatedId]
) -> Sequence[DatedId]:
    """Add tasks in the history to live ones, and return the newest ones.

    As in `add_archived`, the search stops at days that cannot contain a newer task.
    """
    at = history.c.finished_at if search.by_latest_state else history.c.listed_at
    id, limit = history.c.id, search.limit
    values = _known_values(connection, search)
    scans = [*_scans(connection, search, values)]
    query: Select[Any] = select(at, id, history.c.day)
    fetch = fetch_ids
    if len(scans) == 1:
        # Of several scans, most tasks that are found are not on the page.
        query, fetch = select_ended(connection, search.detail, at), fetch_ended
    query = query.where(*_conditions(connection, search, at))
    query = _among_long(connection, search, query)
    for window, conditions in _windows(connection, search, values):
        in_window = query.where(*conditions)
        if len(found) == limit:
            if window.is_before(found[-1].at):
                break
            in_window = in_window.where(at >= found[-1].at)
        sources = [
            newest_first(
                connection,
                in_window.where(*scan),
                at,
                id,
                after=search.after,
                limit=limit,
                fetch=fetch,
            )
            for scan in scans
        ]
        found = merged([found, *sources], limit)
    return found


def _conditions(
    connection: Connection, search: Search, at: ColumnElement[datetime]
) -> Iterator[Condition]:
    """Yield the conditions of a search on the history."""
    yield query_condition(search.query, history, connection.dialect.name)
    yield from within(at, search.since, search.until)
    yield ~is_live(history.c.id)
    if not search.shows_internal:
        yield ~is_internal(history.c.name)


def _among_long(
    connection: Connection, search: Search, query: Select[Any]
) -> Select[Any]:
    """Let a query read only long runs, by their index, if its tasks have run for long.

    PostgreSQL does not know how few of them there are, and would read the newest tasks.
    But only this index has the order of times in which NULL is last. The history has a
    time for each task.
    """
    least_s = least_number(search.query, "run")
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite or search.by_latest_state or least_s < LONG_S:
        return query
    is_long = text(f"{RUN} >= :least").bindparams(least=timedelta(seconds=least_s))
    return query.where(is_long).order_by(history.c.listed_at.desc().nulls_last())


def _known_values(connection: Connection, search: Search) -> Values:
    """Return the values that matching tasks can have, by kind, where all are known."""
    value, kind = day_value.c.value, day_value.c.kind
    known = {
        each: find_matching_values(connection, search, each, value, kind == each)
        for each in KINDS
    }
    return {each: values for each, values in known.items() if values is not None}


def _scans(
    connection: Connection, search: Search, known: Values
) -> Iterator[Sequence[Condition]]:
    """Yield conditions that cover the matching tasks, each with an index."""
    columns = history.c
    if search.by_latest_state:
        fields = ("worker", "error_group")
        usual = SUCCESS in (search.statuses or (SUCCESS,))
    else:
        fields, usual = ("name", "queue"), True
    is_unusual = [*of_partial_index(connection)]
    rare: Sequence[Condition] = [] if usual else is_unusual
    for field in fields:
        values = known.get(field)
        if values is not None and len(values) <= MAX_SCANS:
            yield from ([columns[field] == value, *rare] for value in values)
            return
    if not search.by_latest_state:
        yield []
        return
    if requires(search.query, ("error",)):
        rare = is_unusual
    elif usual:
        yield []
        return
    for status in ENDED:
        if status != SUCCESS and status in (search.statuses or ENDED):
            yield [columns.status == status, *rare]


def _windows(
    connection: Connection, search: Search, known: Values
) -> Iterator[tuple[DayWindow, Sequence[ColumnElement[bool]]]]:
    """Yield windows of days with their conditions, newest days first."""
    days: Set[date] | None = find_days(connection, known)
    related = _related_days(connection, search)
    if related is not None:
        days = related if days is None else related & days
    first = None
    if search.since is not None:
        first = (max(search.since, EPOCH) - MAX_SKEW).date() - _DAY_SLACK
    for window in day_windows(connection, since=first, only=days):
        yield window, [*window.conditions(), *_relations(search)]


def _related_days(connection: Connection, search: Search) -> Set[date] | None:
    """Return the days of tasks that are found by an id, or None for all days."""
    for field, kind in _RELATIONS.items():
        values = search.exact(field)
        if values is not None:
            found = find_archived(connection, **{kind: values})
            return {each.day for each in found}
    return None


def _relations(search: Search) -> Iterator[ColumnElement[bool]]:
    """Yield conditions in the form of the partial indexes on relations."""
    roots = search.exact("root")
    if roots is not None:
        columns = history.c
        has_root = and_(columns.root_id.in_(roots), columns.root_id != columns.id)
        is_root = and_(columns.id.in_(roots), columns.root_id == columns.id)
        yield or_(has_root, is_root)
