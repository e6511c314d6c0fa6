"""Searches for the tasks that match a query, newest first.

As in `search.py`, each table is queried separately, by the index that fits best, and
the answers are merged. Conditions that no index supports are checked for each row: of
the history, of the view of live tasks with a message, and for other live tasks by one
look into the view `workertoolbox_live`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from celery.states import SUCCESS
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    func,
    literal,
    select,
    text,
    true,
)

from cadasta.workertoolbox.results._database.archived import find_archived
from cadasta.workertoolbox.results._database.statuses import (
    BEFORE_RESULT,
    ENDED,
    PLANNED,
    PSEUDO_TASKS,
)
from cadasta.workertoolbox.results._database.tables import (
    IS_OPEN,
    IS_UNARCHIVED,
    planned,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._database.view import live, tracked
from cadasta.workertoolbox.results._history.conditions import (
    has_message,
    has_message_or_result,
    has_result,
)
from cadasta.workertoolbox.results._query.fields import FIELDS
from cadasta.workertoolbox.results._store.rows.dated_ids import DatedId
from cadasta.workertoolbox.results._store.rows.filters import Condition, is_internal
from cadasta.workertoolbox.results._store.search.archived_search import add_matching
from cadasta.workertoolbox.results._store.search.live_candidates import (
    candidate_conditions,
)
from cadasta.workertoolbox.results._store.search.live_results import open_states
from cadasta.workertoolbox.results._store.search.matching_values import (
    find_matching_values,
)
from cadasta.workertoolbox.results._store.search.order import (
    merged,
    newest_first,
    undated,
    within,
)
from cadasta.workertoolbox.results._store.search.query_conditions import (
    query_condition,
    requires,
)
from cadasta.workertoolbox.results._store.search.request import Search

#: Fields that relate tasks, with their columns.
_LINEAGE = {"root": "root_id", "parent": "parent_id", "group": "group_id"}

#: Fields that are not known before a step is published.
_UNKNOWN_OF_STEPS = [
    name
    for name, field in FIELDS.items()
    if field.columns[0] not in ("id", "name", "status", "tracked", *_LINEAGE.values())
]


def find_matching(connection: Connection, search: Search) -> Sequence[DatedId]:
    """Return the newest tasks that match; planned steps are last, and have no day."""
    found: Sequence[DatedId] = []
    if not search.is_after_planned and search.statuses != frozenset({PLANNED}):
        found = merged(_find_live(connection, search), search.limit)
        if search.statuses is None or search.statuses & {*ENDED}:
            found = add_matching(connection, search, found)
    return found


def find_matching_steps(
    connection: Connection, search: Search, limit: int
) -> Sequence[DatedId]:
    """Return planned steps that match, the last announced first."""
    is_wanted = search.statuses is None or PLANNED in search.statuses
    if limit < 1 or not is_wanted or requires(search.query, _UNKNOWN_OF_STEPS):
        return []
    waiting = select(
        *(planned.c[name] for name in ("id", "name", "root_id", "group_id")),
        func.nullif(planned.c.parent_id, planned.c.id).label("parent_id"),
        literal(PLANNED).label("status"),
        true().label("tracked"),
        planned.c.seen_at,
    ).where(~has_message_or_result(planned.c.id))
    parents = search.exact("parent")
    if parents is not None:
        # An index has the column, but not the expression.
        waiting = waiting.where(planned.c.parent_id.in_(parents))
    steps = waiting.subquery("steps")
    at, id = steps.c.seen_at, steps.c.id
    query = select(at, id).where(
        query_condition(search.query, steps, connection.dialect.name),
        *within(at, search.since, search.until),
    )
    if not search.shows_internal:
        query = query.where(~is_internal(steps.c.name))
    found: list[DatedId] = []
    after = search.after if search.is_after_planned else None
    while len(found) < limit:
        some = newest_first(connection, query, at, id, after=after, limit=limit)
        # The message that announces a step may arrive after the step has ended.
        archived = find_archived(connection, ids=[each.id for each in some])
        ended = {each.id for each in archived}
        found += (each for each in some if each.id not in ended)
        if len(some) < limit:
            break
        after = some[-1]
    return found[:limit]


def _find_live(connection: Connection, search: Search) -> Iterator[Sequence[DatedId]]:
    first = search.since
    if not search.by_latest_state:
        messages = _find_messages(connection, search)
        yield messages
        if len(messages) == search.limit:
            first = messages[-1].at  # Older results cannot be among the first.
    if search.statuses is not None and search.statuses <= {*BEFORE_RESULT}:
        return
    yield from _find_results(connection, replace(search, since=first))


def _find_messages(connection: Connection, search: Search) -> Sequence[DatedId]:
    """Return live tasks with a message, by its publication."""
    at, id = task.c.scheduled_at, task.c.id
    conditions = [
        *within(at, search.since, search.until),
        *candidate_conditions(connection, search),
        _is_shown(connection, search, tracked, id),
    ]
    # A run of another message may be shown, but only columns of messages have indexes.
    for field in ("id", "name", "queue", *_LINEAGE):
        column = task.c[_LINEAGE.get(field, field)]
        values = find_matching_values(connection, search, field, column)
        if values is not None:
            conditions.append(column.in_(values))
    if search.statuses is not None and search.statuses <= {*BEFORE_RESULT}:
        conditions.append(~has_result(id))
    if not search.shows_internal:
        conditions.append(~is_internal(task.c.name))
    query = select(at, id).where(*conditions)
    return newest_first(
        connection, query, at, id, after=search.after, limit=search.limit
    )


def _find_results(
    connection: Connection, search: Search
) -> Iterator[Sequence[DatedId]]:
    """Yield live results by their latest state, one list for each state with an index.

    If tasks are sorted by their publication, only those without a message.
    """
    id = taskmeta.c.task_id
    conditions: list[Condition] = [
        func.coalesce(taskmeta.c.name, "").not_in(PSEUDO_TASKS),
        _is_shown(connection, search, live, id),
    ]
    if requires(search.query, ("error",)):
        conditions.append(taskmeta.c.status != SUCCESS)
    if not search.by_latest_state:
        conditions.append(~has_message(id))
        for field, name in _LINEAGE.items():
            values = search.exact(field)
            if values is not None:
                conditions.append(taskmeta.c[name].in_(values))
    for field in ("worker", "error_group", "id"):
        values = search.exact(field)
        if values is not None:
            conditions.append(
                taskmeta.c[{"id": "task_id"}.get(field, field)].in_(values)
            )
    ended = search.statuses and sorted(search.statuses & {*ENDED})
    if ended is None or ended:
        some = [] if ended is None else [taskmeta.c.status.in_(ended)]
        yield from _dated_results(
            connection, search, [text(IS_UNARCHIVED), *some, *conditions]
        )
    for state in open_states(connection):
        if search.statuses is None or state in search.statuses:
            of_state = [text(IS_OPEN), taskmeta.c.status == state, *conditions]
            yield from _dated_results(connection, search, of_state)


def _dated_results(
    connection: Connection, search: Search, conditions: Sequence[Condition]
) -> Iterator[Sequence[DatedId]]:
    at, id = taskmeta.c.date_done, taskmeta.c.task_id
    after, limit = search.after, search.limit
    dated = select(at, id).where(*conditions, *within(at, search.since, search.until))
    dated = dated.where(at.is_not(None))
    yield newest_first(connection, dated, at, id, after=after, limit=limit)
    if search.since is None:
        query = select(id).where(*conditions, at.is_(None))
        yield undated(connection, query, id, after=after, limit=limit)


def _is_shown(
    connection: Connection, search: Search, view: Table, id: ColumnElement[str]
) -> Condition:
    """Return the condition that a view has a task with this id that matches.

    A scalar subquery, so that PostgreSQL looks up each task by its id instead of
    reading the whole view.
    """
    shown = query_condition(search.query, view, connection.dialect.name)
    if not search.shows_internal:
        shown = and_(shown, ~is_internal(view.c.name))
    found = select(literal(1)).where(view.c.id == id, shown).limit(1)
    return found.scalar_subquery().is_not(None)
