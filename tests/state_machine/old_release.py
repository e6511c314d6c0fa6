"""Workers and a monitor of the last release, before a database is upgraded."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Table, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from cadasta.workertoolbox.results._database.tables import attempt, task, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from state_machine.places import Message, Run

_INSERTS = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


class OldRelease:
    """Stores what the last release stores, in columns that it has."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def copy(self, message: Message, seen_at: datetime) -> None:
        """Store a copy, as a monitor does, for the first time or again."""
        names = ("name", "queue", "retries", "eta")
        values: dict[str, Any] = {name: getattr(message, name) for name in names}
        values |= {"replaced": 0, "seen_at": seen_at}
        values["scheduled_at"] = message.published_at
        rows: dict[Table, dict[str, Any]] = {
            attempt: {"task_id": message.id},
            task: {
                **{"id": message.id, "root_id": message.id, "ignore_result": False},
                **{"args": ["a"], "kwargs": {"b": 1}, "expires": message.expires},
            },
        }
        upsert: Any = _INSERTS[self._engine.dialect.name]
        with self._engine.begin() as connection:
            for table, others in rows.items():
                once = upsert(table).values(**values, **others).on_conflict_do_nothing()
                connection.execute(once)

    def start(self, run: Run) -> None:
        """Store the first start of a task, as a worker does."""
        message = run.message
        row = {
            **{"task_id": message.id, "root_id": message.id, "status": "STARTED"},
            **{"name": message.name, "queue": message.queue, "retries": 0},
            **{"worker": run.worker, "started_at": run.started_at},
            "date_done": run.started_at and naive_utc(run.started_at),
        }
        with self._engine.begin() as connection:
            connection.execute(insert(taskmeta).values(row))

    def end(self, run: Run, status: str, at: datetime, value: int) -> None:
        """Store the end of a run."""
        result = str(value).encode() if status == "SUCCESS" else b'{"exc_type": "E"}'
        row = {"status": status, "result": result, "date_done": naive_utc(at)}
        same = taskmeta.c.task_id == run.message.id
        with self._engine.begin() as connection:
            connection.execute(update(taskmeta).where(same).values(row))

    def statuses(self) -> dict[str, str]:
        """Return the tasks that the release shows."""
        query = select(text("id, status")).select_from(text("workertoolbox_tasks"))
        with self._engine.connect() as connection:
            return {id: status for id, status in connection.execute(query)}
