"""Writes states of one task, and reads its result."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from cadasta.workertoolbox.results._backend.states import write_state
from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results.backend import Backend

Row = dict[str, Any]

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def row(status: str, minute: float = 0, **values: Any) -> Row:
    """Return the row of a state that is stored some minutes after noon."""
    done = at(minute).replace(tzinfo=None)
    empty = {"result": None, "traceback": None}
    return {"task_id": "1", "status": status, "date_done": done, **empty, **values}


def written(backend: Backend, *rows: Row, **options: Any) -> Row:
    """Write states, the last one with options, and return the result."""
    *earlier, last = rows
    for each in earlier:
        write_state(backend.database, each)
    write_state(backend.database, last, **options)
    return stored(backend)


def stored(backend: Backend) -> Row:
    with backend.database.engine.connect() as connection:
        return dict(connection.execute(select(taskmeta)).mappings().one())


def change(backend: Backend, **values: Any) -> None:
    with backend.database.engine.begin() as connection:
        connection.execute(update(taskmeta).values(values))
