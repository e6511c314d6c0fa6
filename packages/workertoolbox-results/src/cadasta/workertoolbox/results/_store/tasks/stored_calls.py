"""Tasks with all that is stored of their messages, so that they can be run again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, select

from cadasta.workertoolbox.results._database.archived import are_on, find_last_ends
from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._database.view import live
from cadasta.workertoolbox.results._store.open_database import OpenDatabase
from cadasta.workertoolbox.results._store.rows.ids import stored_id
from cadasta.workertoolbox.results._store.rows.reading import read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCall:
    """A task, and what its message says beyond that.

    Attributes:
        task: The task.
        expires: When it expires; None if it does not.
        ignore_result: Whether its result is not stored.
        options: Further options; see `find_options` of the monitor.
        digest: That of the arguments and headers of the message, if they are whole.
    """

    task: Task
    expires: datetime | None
    ignore_result: bool
    options: dict[str, Any]
    digest: str | None


class StoredCalls(OpenDatabase):
    """The method of `TaskStore` that reads whole messages."""

    def stored_calls(
        self, ids: Sequence[str], *, brief: bool = False
    ) -> Sequence[StoredCall]:
        """Return tasks with all that is stored of their messages, in the given order.

        Unknown ids are left out.

        Args:
            ids: Ids of the tasks.
            brief: Whether to leave out arguments, results and tracebacks.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        wanted = [stored_id(id) for id in ids]
        detail = Detail.BRIEF if brief else Detail.WHOLE
        with self._snapshot() as connection:
            return read_calls(connection, wanted, detail)

    def find_all(self, ids: Sequence[str]) -> Sequence[Task]:
        """Return the tasks that have one of the ids, without large values.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        wanted = [stored_id(id) for id in ids]
        with self._snapshot() as connection:
            return read_tasks(connection, wanted, detail=Detail.BRIEF)


def read_calls(
    connection: Connection, ids: Sequence[str], detail: Detail
) -> Sequence[StoredCall]:
    """Return tasks with all that is stored of their messages, in the given order."""
    days = {each.id: each.day for each in find_last_ends(connection, ids)}
    messages = _read_messages(connection, ids, {*days.values()})
    found = {row.id: row for row in messages}
    tasks = read_tasks(connection, ids, days=days, detail=detail)
    return [_call(task, found.get(task.id)) for task in tasks]


def _read_messages(
    connection: Connection, ids: Sequence[str], days: Collection[date]
) -> Iterator[Any]:
    """Yield the rows of messages; of a live task, its live row is last."""
    for table in (history, live):
        names = ("id", "expires", "ignore_result", "options", "digest")
        query = select(*(table.c[name] for name in names)).where(
            is_in(connection, table.c.id, ids)
        )
        if table is history:
            if not days:
                continue
            query = query.where(are_on(days)).order_by(history.c.day)
        yield from connection.execute(query).all()


def _call(task: Task, row: Any) -> StoredCall:
    return StoredCall(
        task=task,
        expires=row.expires if row else None,
        ignore_result=bool(row and row.ignore_result),
        options=(row.options if row else None) or {},
        digest=row.digest if row else None,
    )
