"""The tasks of a workflow.

Celery gives the tasks that a task publishes the root of that task. A group or a chord
that begins outside a task has a root for each of its tasks, and only the id of the
group in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, and_, select

from cadasta.workertoolbox.results._database.statuses import ENDED
from cadasta.workertoolbox.results._database.tables import (
    history,
    planned,
    task,
    taskmeta,
)

#: Maximum number of roots or groups in one query: below SQLite's limit of variables.
MAX_KEYS = 1000


class Workflow(NamedTuple):
    """A workflow: the ids of its tasks, of their roots, and of their groups."""

    task_ids: set[str]
    root_ids: set[str]
    group_ids: set[str]


class _Source(NamedTuple):
    """A table with tasks: the column of the id, and a condition on its rows."""

    id: Column[Any]
    condition: ColumnElement[bool] | None = None


def find_workflow(connection: Connection, *ids: str) -> Workflow:
    """Find a workflow by ids of tasks that began it, or of its groups.

    The tables may say different things about one task, and a task is found if one of
    them says that it belongs to the workflow.
    """
    sources = [_Source(table.c.id) for table in (task, planned, history)]
    # Two queries, because each uses a partial index; one with an OR could not.
    status = taskmeta.c.status
    unarchived = and_(taskmeta.c.archived_at.is_(None), status.in_(ENDED))
    for is_live in (status.not_in(ENDED), unarchived):
        sources.append(_Source(taskmeta.c.task_id, is_live))
    found = Workflow(set(), set(ids), set(ids))
    pending = {"root_id": set(ids), "group_id": set(ids)}
    while any(pending.values()):
        lineages = [
            lineage
            for column, keys in pending.items()
            for lineage in _lineages(connection, sources, column, sorted(keys))
        ]
        found.task_ids.update(id for id, _, _ in lineages)
        roots = {root_id for _, root_id, _ in lineages if root_id is not None}
        groups = {group_id for _, _, group_id in lineages if group_id is not None}
        pending = {
            "root_id": roots - found.root_ids,
            "group_id": groups - found.group_ids,
        }
        found.root_ids.update(roots)
        found.group_ids.update(groups)
    return found


def _lineages(
    connection: Connection, sources: Sequence[_Source], column: str, keys: Sequence[str]
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield id, root and group of the tasks that have one of the roots or groups."""
    for start in range(0, len(keys), MAX_KEYS):
        some = keys[start : start + MAX_KEYS]
        for id, condition in sources:
            columns = id.table.c
            query = select(id, columns.root_id, columns.group_id).where(
                columns[column].in_(some)
            )
            if condition is not None:
                query = query.where(condition)
            for row in connection.execute(query):
                yield row[0], row[1], row[2]
