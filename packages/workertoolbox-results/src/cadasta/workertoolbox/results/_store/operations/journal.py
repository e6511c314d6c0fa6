"""The methods of `TaskStore` for operations: what users have done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from sqlalchemy import ColumnElement, Connection, RowMapping, func, select

from cadasta.workertoolbox.results._arguments.jsonable import jsonable_text
from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.tables import (
    operation,
    operation_task,
)
from cadasta.workertoolbox.results._errors import OperationNotFound
from cadasta.workertoolbox.results._history.horizon import read_reports, running
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.open_database import OpenDatabase

#: The states of a task of an operation. `PUBLISHING` is stored before the task is
#: published, and `PUBLISHED` after it; a process that dies in between leaves the first.
WAITING = "waiting"
PUBLISHING = "publishing"
PUBLISHED = "published"
REFUSED = "refused"

#: Maximum number of tasks of an operation that one query reads.
BATCH_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(JsonRecord):
    """Something that a user has done: a row of `workertoolbox_operation`.

    Tasks were published again, or the state of a group of errors was changed.

    Attributes:
        id: The key, for `tasks rerun --resume`.
        kind: `rerun`, or `failed-steps` for steps of a workflow with those after them;
            `resolve`, `ignore` or `reopen` for a group of errors.
        made_by: Who began it, such as `ann@host`.
        reason: Why, if a reason was given.
        selection: What was asked for: ids, a query, the root of a workflow, or the key
            of a group of errors.
        tasks: Number of tasks; 0 for a group of errors.
        started_at: When its tasks were selected, or the group was changed.
        finished_at: When no task was left that could be published, or None.
        published: How many tasks have been published.
        refused: How many tasks cannot be published.
        doubtful: How many tasks may have been published: the operation was killed while
            it published them, or the broker did not answer.
    """

    json_added: ClassVar = {"waiting": "waiting"}

    id: str
    kind: str
    made_by: str
    reason: str | None
    selection: str
    tasks: int
    started_at: datetime
    finished_at: datetime | None
    published: int = 0
    refused: int = 0
    doubtful: int = 0

    @property
    def waiting(self) -> int:
        """How many tasks are still to be published."""
        return self.tasks - self.published - self.refused - self.doubtful


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationTask(JsonRecord):
    """A task of an operation: a row of `workertoolbox_operation_task`.

    Attributes:
        operation_id: Key of the operation.
        task_id: Id of the task that is published again.
        name: Its name.
        new_id: The id under which it is published, unless it is refused.
        state: `waiting`, `published`, `refused`, or `publishing`; the latter is
            doubtful if the operation does not run any more.
        note: Why it was refused, what the broker answered, or what is left out.
        changed_at: When the state was stored.
    """

    json_hidden: ClassVar = frozenset({"position"})
    json_added: ClassVar = {"new_id": "published_id"}

    operation_id: str
    task_id: str
    position: int
    name: str | None
    new_id: str
    state: str
    note: str | None
    changed_at: datetime

    @property
    def published_id(self) -> str | None:
        """The id under which it is published; None if it was refused."""
        return None if self.state == REFUSED else self.new_id


class Operations(OpenDatabase):
    """The methods of `TaskStore` for operations."""

    def operations(self, *, limit: int = 50) -> Sequence[Operation]:
        """Return operations, newest first.

        Example:
            Operations that were interrupted::

                [each for each in store.operations() if each.finished_at is None]

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        columns = operation.c
        query = select(operation).order_by(columns.started_at.desc(), columns.id)
        with self._snapshot() as connection:
            rows = connection.execute(query.limit(limit)).mappings().all()
            counts = _count(connection, [row["id"] for row in rows])
        return [_operation(row, counts[row["id"]]) for row in rows]

    def operation(self, id: str) -> Operation:
        """Return an operation by its key.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
            OperationNotFound: There is no operation with this key.
        """
        known_id = jsonable_text(id)
        query = select(operation).where(operation.c.id == known_id)
        with self._snapshot() as connection:
            row = connection.execute(query).mappings().first()
            counts = _count(connection, [known_id])
        if row is None:
            raise OperationNotFound(id)
        return _operation(row, counts[known_id])

    def operation_tasks(
        self,
        id: str,
        *,
        states: Collection[str] = (),
        after: int = -1,
        limit: int = BATCH_SIZE,
    ) -> Sequence[OperationTask]:
        """Return tasks of an operation in the order in which they are published.

        Args:
            id: Key of the operation.
            states: Only tasks in one of these states.
            after: Only tasks whose `position` is higher.
            limit: Maximum number of tasks to return.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        columns = operation_task.c
        conditions = [columns.operation_id == jsonable_text(id)]
        if states:
            conditions.append(columns.state.in_(sorted(states)))
        query = select(operation_task).where(*conditions, columns.position > after)
        with self._snapshot() as connection:
            found = connection.execute(query.order_by(columns.position).limit(limit))
            return [OperationTask(**row) for row in found.mappings()]

    def reruns(self, ids: Iterable[str]) -> Mapping[str, Sequence[OperationTask]]:
        """Return the reruns of tasks, by the ids of these tasks, oldest first.

        Tasks that were refused are left out.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        wanted = sorted({jsonable_text(id) for id in ids})
        with self._snapshot() as connection:
            return read_reruns(connection, wanted)

    def read_until(self) -> datetime | None:
        """Return until when all running monitors have read their messages.

        It is None if no monitor runs, or if one has not reported how far it has read.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        with self._snapshot() as connection:
            reports = running(read_reports(connection), datetime.now(UTC))
        times = [each.read_until for each in reports]
        known = [at for at in times if at is not None]
        return min(known) if known and len(known) == len(times) else None


def read_reruns(
    connection: Connection, ids: Sequence[str]
) -> Mapping[str, Sequence[OperationTask]]:
    """Return the reruns of tasks; see `Operations.reruns`."""
    found: dict[str, list[OperationTask]] = defaultdict(list)
    columns = operation_task.c
    for start in range(0, len(ids), BATCH_SIZE):
        some = ids[start : start + BATCH_SIZE]
        query = select(operation_task).where(
            is_in(connection, columns.task_id, some), columns.state != REFUSED
        )
        ordered = query.order_by(columns.changed_at)
        for row in connection.execute(ordered).mappings():
            found[row["task_id"]].append(OperationTask(**row))
    return found


def _count(
    connection: Connection, ids: Sequence[str]
) -> Mapping[str, Mapping[str, int]]:
    """Return the number of tasks in each state, by operation."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    columns = operation_task.c
    keys: tuple[ColumnElement[str], ...] = (columns.operation_id, columns.state)
    query = select(*keys, func.count().label("tasks")).where(
        columns.operation_id.in_(ids)
    )
    for row in connection.execute(query.group_by(*keys)).mappings():
        counts[row["operation_id"]][row["state"]] = row["tasks"]
    return counts


def _operation(row: RowMapping, counts: Mapping[str, int]) -> Operation:
    return Operation(
        **row,
        published=counts.get(PUBLISHED, 0),
        refused=counts.get(REFUSED, 0),
        doubtful=counts.get(PUBLISHING, 0),
    )
