"""Expired results, which are read from the history."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from celery import states
from sqlalchemy import Connection, RowMapping, select, update

from cadasta.workertoolbox.results._backend.absent_ids import AbsentIds
from cadasta.workertoolbox.results._database.archived import (
    Archived,
    are_on,
    find_archived,
    find_last_ends,
)
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.id_lists import is_in
from cadasta.workertoolbox.results._database.tables import history, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._errors import ResultTooLarge

#: Maximum distance between the end of a task and the day of its row.
NEAR = timedelta(days=2)

_META_COLUMNS = ("status", "traceback", "name", "worker", "retries", "queue")

_COLUMNS = (
    *(history.c[name] for name in ("id", "finished_at", "result", "result_bytes")),
    *(history.c[name] for name in ("args", "kwargs", "children", *_META_COLUMNS)),
)

_instances: dict[Database, ArchivedResults] = {}


class ArchivedResults:
    """The results in the history of a database.

    A search for an id takes milliseconds if there are many days, so ids that were not
    found are remembered for some seconds.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._absent = AbsentIds()

    def expect(self, task_id: str) -> None:
        """Remember that a task is published now, so it cannot be in the history."""
        self._absent.add(task_id)

    def find(self, task_ids: Iterable[str]) -> dict[str, RowMapping]:
        """Return the rows of tasks that only the history has, by their ids.

        Forgotten tasks and live tasks have none.
        """
        ids = self._absent.without(task_ids)
        if not ids:
            return {}
        with self._database.connect() as connection:
            found = _select(connection, find_last_ends(connection, ids))
            self._absent.add(*(id for id in ids if id not in found))
            live = _find_live(connection, [*found]) if found else set()
        return {
            id: row
            for id, row in found.items()
            if id not in live and not row["forgotten"]
        }

    def forget(self, task_id: str, ended_at: datetime | None) -> None:
        """Mark the task as forgotten, if the history has it.

        Args:
            ended_at: The probable end of the task; days near it are searched first.
        """
        same = update(history).where(history.c.id == task_id).values(forgotten=True)
        with self._database.connect() as connection:
            if ended_at is not None:
                day = ended_at.date()
                near = same.where(history.c.day.between(day - NEAR, day + NEAR))
                if connection.execute(near).rowcount:
                    return
            found = find_archived(connection, ids=[task_id])
            connection.execute(same.where(are_on(each.day for each in found)))


class CutMeta(dict[str, Any]):
    """Celery's meta of a task if the history has only the beginning of its result.

    Reading the result raises `ResultTooLarge`.
    """

    def __init__(self, meta: Mapping[str, Any], *error: Any) -> None:
        super().__init__(meta)
        self._error = error

    def __missing__(self, key: str) -> Any:
        if key == "result":
            raise ResultTooLarge(*self._error)
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value; raise `ResultTooLarge` for the result."""
        return self[key] if key == "result" else super().get(key, default)


def archived_meta(
    row: RowMapping, decode: Callable[[bytes | None], Any], *, max_bytes: int
) -> dict[str, Any]:
    """Return Celery's meta of a task in the history, without the task's stamps.

    If the result was too large, the result of a failed task is `ResultTooLarge`. The
    meta of a successful task raises it when the result is read.

    Args:
        decode: Decodes JSON as Celery stores it.
        max_bytes: The limit above which results are cut, for the error.
    """
    meta = {name: row[name] for name in _META_COLUMNS}
    meta["task_id"] = row["id"]
    meta["date_done"] = naive_utc(row["finished_at"])
    meta["children"] = decode(row["children"])
    for name in ("args", "kwargs"):
        value = row[name]
        meta[name] = value if value is None else decode(json.dumps(value).encode())
    return with_result(meta, row, decode, max_bytes=max_bytes)


def with_result(
    meta: Mapping[str, Any],
    row: RowMapping,
    decode: Callable[[bytes | None], Any],
    *,
    max_bytes: int,
) -> dict[str, Any]:
    """Return Celery's meta of a task with its result, or `ResultTooLarge` instead.

    Args:
        meta: The meta without the result.
        row: Has `result`, and `result_bytes` if `result` is only the beginning.
        decode: Decodes JSON as Celery stores it.
        max_bytes: The limit above which results are cut, for the error.
    """
    if row["result_bytes"] is None:
        return {**meta, "result": decode(row["result"])}
    error = (meta["task_id"], row["result_bytes"], max_bytes)
    if row["status"] in states.EXCEPTION_STATES:
        return {**meta, "result": ResultTooLarge(*error)}
    known = {name: value for name, value in meta.items() if name != "result"}
    return CutMeta(known, *error)


def _select(
    connection: Connection, ends: Sequence[Archived]
) -> Mapping[str, RowMapping]:
    if not ends:
        return {}
    query = select(*_COLUMNS, history.c.forgotten).order_by(history.c.day)
    is_wanted = is_in(connection, history.c.id, [each.id for each in ends])
    query = query.where(is_wanted, are_on(each.day for each in ends))
    return {row["id"]: row for row in connection.execute(query).mappings()}


def _find_live(connection: Connection, ids: list[str]) -> set[str]:
    """Return the ids of tasks that have a result in `celery_taskmeta`."""
    query = select(taskmeta.c.task_id).where(is_in(connection, taskmeta.c.task_id, ids))
    return {*connection.scalars(query)}


def archived_results_for(database: Database) -> ArchivedResults:
    """Return the archived results that all threads of this process share.

    Celery creates a backend for each thread.
    """
    # `setdefault` is atomic: threads that call this at the same time get the same
    # object.
    return _instances.get(database) or _instances.setdefault(
        database, ArchivedResults(database)
    )
