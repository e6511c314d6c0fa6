"""A history in a database, for tests that store messages and states step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery, states
from celery.app.task import Context
from kombu.message import Message
from sqlalchemy import Connection, Engine, RowMapping, func, select, text

from cadasta.workertoolbox.results import Redaction, database_url, open_engine
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    day_value,
    error_group,
    history,
    planned,
    rollup,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._headers import PUBLISHED_AT
from cadasta.workertoolbox.results._history.archiver import archive_batch
from cadasta.workertoolbox.results._history.contributions import (
    contribution_columns,
    contributions_of,
)
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._monitor.message import read_task
from cadasta.workertoolbox.results._monitor.upserts import write_batch
from cadasta.workertoolbox.results._store.rows.value_days import KINDS
from support.brokers import result_backend_url
from support.result_backends import app_with_backend

KEY = [*rollup.primary_key.columns]

#: When the tasks were published.
PUBLISHED = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)


def task_message(id: str, *, retries: int = 0, **headers: Any) -> Message:
    """Return the message of a task, as a monitor gets it."""
    published_at = PUBLISHED + timedelta(minutes=retries)
    given: dict[str, Any] = {
        **{"id": id, "root_id": id, "retries": retries, "task": "export.echo"},
        PUBLISHED_AT: published_at.isoformat(),
    }
    return Message(
        body='[["a"], {"b": 1}, {}]',
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"routing_key": "export"},
        headers={**given, **headers},
    )


@dataclass
class History:
    """A database with its backend, in which tests store tasks."""

    app: Celery
    engine: Engine
    options: ArchiveOptions = field(default_factory=lambda: ArchiveOptions(delay_s=0))

    def publish(
        self,
        id: str = "1",
        *,
        retries: int = 0,
        connection: Connection | None = None,
        **headers: Any,
    ) -> None:
        """Store the message of a task, as a monitor does.

        Args:
            connection: Takes part in its transaction, instead of one that is committed.
        """
        message = task_message(id, retries=retries, **headers)
        record = read_task(
            message, seen_at=datetime.now(UTC), redaction=Redaction(), max_bytes=65536
        )
        if connection is not None:
            write_batch(connection, [record])
            return
        with self.engine.begin() as own:
            write_batch(own, [record])

    def store(
        self,
        state: str,
        result: object = None,
        id: str = "1",
        *,
        retries: int = 0,
        worker: str = "a@host",
        published_at: datetime | None = None,
        **attributes: Any,
    ) -> None:
        """Store a start and a state of a run, as a worker does."""
        published_at = published_at or PUBLISHED + timedelta(minutes=retries)
        request = Context(
            id=id,
            task="export.echo",
            args=["a"],
            kwargs={"b": 1},
            root_id=id,
            hostname=worker,
            retries=retries,
            delivery_info={"routing_key": "export"},
            **{PUBLISHED_AT: published_at.isoformat()},
            **attributes,
        )
        backend: Any = self.app.backend
        backend.store_result(id, {"pid": 1}, states.STARTED, request=request)
        backend.store_result(id, result, state, request=request)

    def archive(self) -> int:
        """Archive ended tasks; return their number."""
        with self.engine.begin() as connection:
            return archive_batch(connection, self.options)

    def unarchived(self) -> int:
        """Return the number of results that are not archived."""
        query = select(func.count(taskmeta.c.id)).where(
            taskmeta.c.archived_at.is_(None)
        )
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one()

    def waiting_sessions(self) -> int:
        """Return the number of PostgreSQL sessions that wait for a lock."""
        query = text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with self.engine.connect() as connection:
            number: int = connection.execute(query).scalar_one()
        return number

    def rows(self) -> Sequence[RowMapping]:
        """Return the rows of the history, by id."""
        with self.engine.connect() as connection:
            found = connection.execute(select(history).order_by(history.c.id))
            return found.mappings().all()

    def shown(self) -> Sequence[RowMapping]:
        """Return the rows of the view, by id."""
        query = text("SELECT * FROM workertoolbox_tasks ORDER BY id")
        with self.engine.connect() as connection:
            return connection.execute(query).mappings().all()

    def check_rollups(self) -> None:
        """Compare the rollups with those of the rows of the history.

        Raises:
            AssertionError: They differ.
        """
        with self.engine.connect() as connection:
            stored = connection.execute(select(rollup).order_by(*KEY)).all()
            connection.execute(rollup.delete())
            columns = contribution_columns(connection.dialect.name)
            rows = connection.execute(select(*columns).select_from(history)).all()
            add_contributions(connection, contributions_of(rows))
            counted = connection.execute(select(rollup).order_by(*KEY)).all()
            connection.rollback()
        assert stored == counted

    def check_values(self) -> None:
        """Check that searches find the day of each value in the history.

        Raises:
            AssertionError: A value is not known on its day.
        """
        with self.engine.connect() as connection:
            known = {(*row,) for row in connection.execute(select(day_value))}
            for kind in KINDS:
                query = select(history.c[kind], history.c.day).distinct()
                rows = connection.execute(query.where(history.c[kind].is_not(None)))
                missing = {(kind, *row) for row in rows} - known
                assert not missing, f"not known: {missing}"

    def delete_result(self) -> None:
        """Delete the results that are archived, as `result_expires` does."""
        with self.engine.begin() as connection:
            old = taskmeta.c.archived_at.is_not(None)
            connection.execute(taskmeta.delete().where(old))

    def clear(self) -> None:
        """Delete all tasks."""
        with self.engine.begin() as connection:
            connection.execute(taskmeta.update().values(archived_at=datetime.now(UTC)))
            for table in (
                taskmeta,
                task,
                attempt,
                planned,
                history,
                rollup,
                error_group,
                day_value,
            ):
                connection.execute(table.delete())


@contextmanager
def open_history(database: str) -> Iterator[History]:
    """Yield the history of the database with this URL."""
    app = app_with_backend(result_backend_url(database))
    engine = open_engine(database_url(result_backend_url(database)))
    yield History(app, engine)
    engine.dispose()
    backend: Any = app.backend
    backend.database.close()
    app.close()
