"""The tasks of a workflow.

Celery gives the tasks that a task publishes the root of that task. A group or a chord
that begins outside a task has a root for each of its tasks, and only the id of the
group in common.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, and_, or_, select, text, true

from cadasta.workertoolbox.results._database.archived import (
    Archived,
    find_archived,
    find_ends_since,
    find_last_ends,
)
from cadasta.workertoolbox.results._database.tables import (
    IS_OPEN,
    IS_UNARCHIVED,
    history,
    planned,
    task,
    taskmeta,
)

#: Maximum number of roots or groups in one query: below SQLite's limit of variables.
MAX_KEYS = 1000


class WorkflowIds(NamedTuple):
    """The ids of a workflow: those of its tasks, of their roots, and of their groups.

    `days` are the days of its tasks in the history, by id. `live_ids` are the ids that
    a table of live tasks has.
    """

    task_ids: set[str]
    root_ids: set[str]
    group_ids: set[str]
    days: dict[str, date]
    live_ids: AbstractSet[str] = frozenset()


#: Returns the tasks in the history that have one of the roots, or of the groups.
Search = Callable[[Sequence[str], Sequence[str]], Sequence[Archived]]


class _Member(NamedTuple):
    """The ids of a task in one table; `day` is its day in the history."""

    table: Table
    id: str
    root_id: str | None
    group_id: str | None
    day: date | None


def find_workflow(
    connection: Connection,
    *ids: str,
    search: Search | None = None,
    since: date | None = None,
) -> WorkflowIds:
    """Find a workflow by ids of tasks that began it, or of its groups.

    The tables may say different things about one task, and a task is found if one of
    them says that it belongs to the workflow.

    Args:
        search: Searches the history. By default, all days are searched.
        since: The day from which announced steps may have ended; None for any day.
    """
    live_ids: set[str] = set()
    found = WorkflowIds(set(), set(ids), set(ids), {}, live_ids)
    roots, groups = set(ids), set(ids)
    while roots or groups:
        searched = found.root_ids - roots
        members = [
            *_members(connection, sorted(roots), sorted(groups), search, searched)
        ]
        found.task_ids.update(each.id for each in members)
        live = (each.id for each in members if each.table in (task, taskmeta))
        live_ids.update(live)
        for id, day in _days(connection, members, since).items():
            found.days[id] = max(day, found.days.get(id, day))
        roots = {each.root_id for each in members if each.root_id is not None}
        groups = {each.group_id for each in members if each.group_id is not None}
        roots -= found.root_ids
        groups -= found.group_ids
        found.root_ids.update(roots)
        found.group_ids.update(groups)
    return found


def find_children(
    connection: Connection, parent_id: str
) -> tuple[Sequence[str], Mapping[str, date]]:
    """Find the tasks that may have a given parent.

    Several tables contain a parent of the task, and the task has only one of them, so
    the caller has to check the tasks again.

    Returns:
        The ids of the tasks, and the days of the archived ones by id.
    """
    found = [
        member
        for table in (task, planned, taskmeta)
        for member in _select(connection, table, table.c.parent_id == parent_id)
    ]
    archived = find_archived(connection, parents=[parent_id])
    found += (_Member(history, *each) for each in archived)
    return sorted({each.id for each in found}), _days(connection, found)


def find_group(
    connection: Connection, group_id: str
) -> tuple[Sequence[str], Mapping[str, date]]:
    """Find the tasks that may be in a given group, as `find_children` does."""
    found = [*_members(connection, (), [group_id])]
    return sorted({each.id for each in found}), _days(connection, found)


def find_groups(
    connection: Connection, group_ids: Sequence[str]
) -> Mapping[str, Collection[str]]:
    """Return the ids of the known tasks of groups, by the id of the group."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for each in _members(connection, (), group_ids):
        if each.group_id is not None:
            found[each.group_id].add(each.id)
    return found


def _members(
    connection: Connection,
    roots: Sequence[str],
    groups: Sequence[str],
    search: Search | None = None,
    searched: Collection[str] = (),
) -> Iterator[_Member]:
    """Yield the ids of tasks that have one of the roots or groups.

    Args:
        searched: Roots whose live tasks are known, so that those of the groups that
            have one of them are left out.
    """
    for start in range(0, max(len(roots), len(groups)), MAX_KEYS):
        keys = {
            "roots": roots[start : start + MAX_KEYS],
            "groups": groups[start : start + MAX_KEYS],
        }
        for table in (task, planned, taskmeta):
            has_root = table.c.root_id.in_(keys["roots"])
            is_in_group = table.c.group_id.in_(keys["groups"])
            is_new: ColumnElement[bool] = true()
            if 0 < len(searched) < MAX_KEYS:
                root_id = table.c.root_id
                is_new = or_(root_id.is_(None), root_id.not_in([*searched]))
            is_wanted = or_(has_root, and_(is_in_group, is_new))
            yield from _select(connection, table, is_wanted)
        if search is None:
            archived = find_archived(connection, **keys)
        else:
            archived = search(keys["roots"], keys["groups"])
        yield from (_Member(history, *each) for each in archived)


def _select(
    connection: Connection, table: Table, condition: ColumnElement[bool]
) -> Iterator[_Member]:
    """Yield the live tasks in a table that meet a condition."""
    columns = table.c
    id = columns.task_id if table is taskmeta else columns.id
    query = select(id, columns.root_id, columns.group_id).where(condition)
    # Two queries, because one with an OR could not use the indexes.
    kinds = (text(IS_OPEN), text(IS_UNARCHIVED)) if table is taskmeta else (true(),)
    for each in kinds:
        for row in connection.execute(query.where(each)):
            yield _Member(table, *row, None)


def _days(
    connection: Connection, found: Sequence[_Member], since: date | None = None
) -> Mapping[str, date]:
    """Return the days of the tasks that are in the history, by id.

    A step may be planned in one workflow and have ended in another, if its message was
    forged.

    Args:
        since: As for `find_workflow`.
    """
    archived = [(each.day, each.id) for each in found if each.day is not None]
    known = {each.id for each in found if each.table is not planned}
    steps = {each.id for each in found if each.table is planned} - known
    if since is None:
        ends = find_last_ends(connection, sorted(steps))
    else:
        ends = find_ends_since(connection, sorted(steps), since)
    archived += ((each.day, each.id) for each in ends)
    # Of two ends of the same id, the newest is the last.
    return {id: day for day, id in sorted(archived)}
