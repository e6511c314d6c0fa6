"""Stores messages and states of tasks, and reads the view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.app.task import Context
from messages import message
from sqlalchemy import Connection, RowMapping, create_engine, select, text, update

from cadasta.workertoolbox.results._database.tables import taskmeta
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.records import TaskRecord
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results.backend import Backend

Step = Callable[[Connection, datetime, ArchiveOptions], object]


def write(backend: Backend, records: Sequence[TaskRecord]) -> None:
    """Store the records of messages, as a monitor does."""
    engine = create_engine(backend.database.engine.url)
    with engine.begin() as connection:
        write_batch(connection, records)
    engine.dispose()


def publish(backend: Backend, body: Any = None, **headers: Any) -> None:
    """Store the message of a task."""
    write(backend, [read_task(message(body, **headers), seen_at=datetime.now(UTC))])


def run(backend: Backend, step: Step, now: datetime, **options: Any) -> None:
    """Run a step of the archiver's housekeeping."""
    engine = create_engine(backend.database.engine.url)
    with engine.begin() as connection:
        step(connection, now, ArchiveOptions(**options))
    engine.dispose()


def store_state(
    backend: Backend, id: str, state: str, result: Any = None, **attributes: Any
) -> None:
    """Store a state of a task, as a worker does."""
    given = {
        **{"id": id, "task": "export.project", "root_id": id, "retries": 0},
        **{"hostname": "a@host", "args": [], "kwargs": {}},
    }
    request = Context(**given | attributes)
    backend.store_result(id, result, state, request=request)
    backend.store_pending_start(id)


def make_older(backend: Backend, id: str, **ages: timedelta) -> None:
    """Subtract ages from columns of a result."""
    same = taskmeta.c.task_id == id
    with backend.database.engine.begin() as connection:
        columns = [taskmeta.c[name] for name in ages]
        row = connection.execute(select(*columns).where(same)).mappings().one()
        values = {name: row[name] - age for name, age in ages.items()}
        connection.execute(update(taskmeta).where(same).values(values))


def shown(backend: Backend) -> Mapping[str, RowMapping]:
    """Return the rows of the view by the id of the task."""
    query = text("SELECT * FROM workertoolbox_tasks")
    with backend.database.engine.connect() as connection:
        return {row["id"]: row for row in connection.execute(query).mappings()}


def stored(backend: Backend, id: str) -> RowMapping:
    """Return the result of a task as it is stored."""
    query = select(taskmeta).where(taskmeta.c.task_id == id)
    with backend.database.engine.connect() as connection:
        return connection.execute(query).mappings().one()


def statuses(backend: Backend, ids: Iterable[str]) -> list[str]:
    """Return the statuses of tasks in the view."""
    rows = shown(backend)
    return [rows[id]["status"] for id in ids]
