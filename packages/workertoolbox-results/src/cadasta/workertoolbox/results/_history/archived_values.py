"""The values of a row of the history, computed from a live task."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from celery import states
from sqlalchemy import (
    ColumnElement,
    case,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
)

from cadasta.workertoolbox.results._database.tables import attempt, history
from cadasta.workertoolbox.results._database.view import live
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions

#: Number of bytes that are kept of a result over the limit, for display.
BEGINNING_BYTES = 4096

#: Number of characters that are kept of a traceback, counted from its end.
MAX_TRACEBACK = 64 * 1024

#: Number of bytes of arguments and headers, as PostgreSQL stores them, up to which an
#: index has their values: up to a few hundred entries a task.
MAX_INDEXED_BYTES = 4096


def archived_values(
    dialect: str, options: ArchiveOptions, now: datetime
) -> dict[str, ColumnElement[Any]]:
    """Return the columns of the history, computed from live tasks.

    Args:
        now: The end of tasks whose end is not known.
    """
    size = func.length(live.c.result)
    is_long = size > options.max_result_bytes
    finished_at = func.coalesce(
        live.c.finished_at, literal(now, live.c.finished_at.type)
    )
    traceback = live.c.traceback
    end = func.right if dialect == "postgresql" else _right
    return {
        **{column.name: column for column in live.c if column.name in history.c},
        "finished_at": finished_at,
        "listed_at": func.coalesce(live.c.scheduled_at, finished_at),
        "result": case(
            (is_long, func.substr(live.c.result, 1, BEGINNING_BYTES)),
            else_=live.c.result,
        ),
        "result_bytes": func.coalesce(live.c.result_bytes, case((is_long, size))),
        "traceback": case(
            (func.length(traceback) > MAX_TRACEBACK, end(traceback, MAX_TRACEBACK)),
            else_=traceback,
        ),
        "messages": _messages(dialect),
        "options": case(
            (live.c.status == states.SUCCESS, _without_next(dialect)),
            else_=live.c.options,
        ),
        "large": _is_large(dialect),
    }


def _is_large(dialect: str) -> ColumnElement[Any]:
    """Return whether the arguments and headers of a task are large, or NULL."""
    if dialect == "sqlite":
        return null()  # SQLite has no index of the values.
    sizes = (
        func.coalesce(func.pg_column_size(live.c[name]), 0)
        for name in ("args", "kwargs", "headers")
    )
    return case((sum(sizes, literal(0)) > MAX_INDEXED_BYTES, true()))


def _without_next(dialect: str) -> ColumnElement[Any]:
    """Return the options of a task without the steps that it has published."""
    if dialect == "postgresql":
        return live.c.options.op("-")(literal_column("'next'"))
    return func.json_remove(live.c.options, "$.next")


def _right(value: ColumnElement[Any], length: int) -> ColumnElement[Any]:
    return func.substr(value, -length)


def _messages(dialect: str) -> ColumnElement[Any]:
    """Return the messages of a task as a JSON array.

    It is NULL if the message of the run was the only one.
    """
    is_postgresql = dialect == "postgresql"
    build: Callable[..., Any]
    build = func.jsonb_build_object if is_postgresql else func.json_object
    gather: Callable[..., Any]
    gather = func.jsonb_agg if is_postgresql else func.json_group_array
    pairs: list[ColumnElement[Any]] = []
    for column in attempt.c:
        if column.name != "task_id":
            pairs += [literal_column(f"'{column.name}'"), column]
    query = (
        select(gather(build(*pairs)))
        .where(attempt.c.task_id == live.c.id)
        .having(
            or_(
                func.count() > 1,
                *(
                    func.min(attempt.c[name]) != live.c[name]
                    for name in ("retries", "name", "queue")
                ),
            )
        )
    )
    return query.scalar_subquery()
