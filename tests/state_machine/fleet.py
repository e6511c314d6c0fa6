"""Producers, workers, a monitor and its archiver on one database, a step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import states
from celery.app.task import Context
from kombu.message import Message as KombuMessage
from sqlalchemy import Connection, Engine, event, select

from cadasta.workertoolbox.results import (
    Redaction,
    TaskStore,
    database_url,
    open_engine,
    upgrade,
)
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    history,
    rollup,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._headers import PUBLISHED_AT
from cadasta.workertoolbox.results._history.contributions import (
    contribution_columns,
    contributions_of,
)
from cadasta.workertoolbox.results._history.ended_tasks import ArchiveOptions
from cadasta.workertoolbox.results._history.purge import find_older, purge
from cadasta.workertoolbox.results._history.retention import Retention
from cadasta.workertoolbox.results._history.rollup import add_contributions
from cadasta.workertoolbox.results._history.tiers import KEEP
from cadasta.workertoolbox.results._monitor.archiving import Archiving
from cadasta.workertoolbox.results._monitor.writer import Writer
from state_machine.oracle import RETENTION
from state_machine.places import Message, Run
from support.brokers import result_backend_url
from support.result_backends import app_with_backend


class Killed(BaseException):
    """A process is killed before a statement or a commit."""


@contextmanager
def _killed_after(statements: int) -> Iterator[None]:
    """Kill the process of the block after a number of statements and commits."""
    left = statements

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    names = ("before_cursor_execute", "commit")
    for name in names:
        event.listen(Engine, name, count)
    try:
        yield
    except Killed:
        pass
    finally:
        for name in names:
            event.remove(Engine, name, count)


def _survive(act: Callable[[], object], kill: int | None) -> None:
    """Do something, but first kill the process that does it after some statements."""
    if kill is not None:
        with _killed_after(kill):
            act()
    act()


class Fleet:
    """The parts of the toolbox that write to a database, and a store that reads it.

    Args:
        database: Its URL for SQLAlchemy.
    """

    def __init__(self, database: str) -> None:
        url = result_backend_url(database)
        self.app = app_with_backend(url)
        self.app.conf.result_expires = timedelta(days=1)
        self.backend: Any = self.app.backend
        self.engine = open_engine(database_url(url))
        self.store = TaskStore(url)
        self._url = url
        ages = {keep: f"{days}d" for keep, days in RETENTION.items()}
        self._options = ArchiveOptions(retention=Retention(ages))
        #: What deleted rows of the history have added to the figures.
        self._deleted: list[Sequence[Any]] = []

        self.begin()

    def begin(self) -> None:
        """Begin with a new database."""
        self._deleted.clear()
        self.writer = Writer(
            self.engine,
            redaction=Redaction(),
            max_bytes=65536,
            on_commit=lambda batch: None,
            should_stop=lambda: True,
        )

    def disconnect(self) -> None:
        """Close all connections; the next statement opens others."""
        self.store.engine.dispose()
        self.engine.dispose()
        self.backend.database.close()

    def write(self, messages: Sequence[Message], kill: int | None) -> None:
        """Store a batch of copies, as a monitor does.

        Args:
            kill: Number of statements after which a monitor is killed. The next one
                gets the same messages. None to kill none.
        """
        batch = [_kombu_message(each) for each in messages]
        _survive(lambda: self.writer.write(batch), kill)

    def start(self, run: Run) -> Context:
        """Store the start of a run; return the request for its end."""
        request = _request(run)
        id, meta = run.message.id, {"pid": 1, "hostname": run.worker}
        self.backend.store_result(id, meta, states.STARTED, request=request)
        self.backend.store_pending_start(id)
        return request

    def end(self, request: Context, status: str, value: object) -> None:
        """Store the end of a run."""
        id, error = request.id, ValueError("no")
        match status:
            case states.SUCCESS:
                self.backend.mark_as_done(id, value, request=request)
            case states.FAILURE:
                self.backend.mark_as_failure(id, error, "Traceback", request=request)
            case states.RETRY:
                self.backend.mark_as_retry(id, error, "Traceback", request=request)

    def revoke(self, run: Run) -> None:
        """Store that a worker did not run a message, or has stopped its run."""
        request = _request(run)
        self.backend.mark_as_revoked(request.id, "revoked", request=request)

    def forget(self, id: str) -> None:
        """Forget a result."""
        self.backend.forget(id)

    def expire_results(self) -> None:
        """Delete old results, as `celery.backend_cleanup` does."""
        self.backend.cleanup()

    def archive(self, kill: int | None) -> None:
        """Do the housekeeping, and archive.

        Args:
            kill: As for `write`.
        """

        def act() -> None:
            archiving = Archiving(self.engine, self._options, should_stop=lambda: False)
            archiving.run_once()

        self._survive(act, kill)

    def purge(self, before: datetime, kill: int | None) -> None:
        """Purge what is older than an instant.

        Args:
            kill: As for `write`.
        """

        def act() -> None:
            for _ in purge(self.engine, find_older(self.engine, before)):
                pass

        self._survive(act, kill)

    def upgrade(self, kill: int | None) -> None:
        """Upgrade the database from the last release.

        Args:
            kill: As for `write`.
        """
        _survive(lambda: upgrade(self._url), kill)

    def _survive(self, act: Callable[[], object], kill: int | None) -> None:
        """Note what rows that are deleted meanwhile have added to the figures."""
        before = self._contributions()
        _survive(act, kill)
        left = {row[0] for row in self._contributions()}
        self._deleted += [row for row in before if row[0] not in left]

    def _contributions(self) -> Sequence[Sequence[Any]]:
        with self.engine.connect() as connection:
            columns = contribution_columns(connection.dialect.name)
            return connection.execute(select(*columns).select_from(history)).all()

    def ids(self) -> set[str]:
        """Return the ids of all tasks of which a table has a row.

        Results that are archived are left out: days that are dropped leave them.
        """
        is_live = taskmeta.c.archived_at.is_(None)
        columns = (task.c.id, attempt.c.task_id, history.c.id)
        queries = [select(column) for column in columns]
        queries.append(select(taskmeta.c.task_id).where(is_live))
        with self.engine.connect() as connection:
            return {id for query in queries for id in connection.scalars(query)}

    def check_rollups(self) -> None:
        """Compare the figures with a recount of the history.

        Raises:
            AssertionError: They differ.
        """
        rows = [*self._contributions(), *self._deleted]
        with self.engine.connect() as connection:
            stored = _figures(connection)
            connection.execute(rollup.delete())
            add_contributions(connection, contributions_of(rows))
            counted = _figures(connection)
            connection.rollback()
        assert stored == counted


def _figures(connection: Connection) -> Sequence[Sequence[Any]]:
    """Return the rows of the rollups that are not too old to be kept."""
    now = datetime.now(UTC)
    found = connection.execute(select(rollup).order_by(*rollup.primary_key.columns))
    return [row for row in found if row.at >= now - KEEP[row.tier]]


def _headers(message: Message) -> dict[str, Any]:
    instants = {"eta": message.eta, "expires": message.expires}
    return {
        **{"id": message.id, "root_id": message.id, "task": message.name},
        **{name: at and at.isoformat() for name, at in instants.items()},
        "retries": message.retries,
        PUBLISHED_AT: message.published_at.isoformat(),
    }


def _kombu_message(message: Message) -> KombuMessage:
    return KombuMessage(
        body='[["a"], {"b": 1}, {}]',
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"routing_key": message.queue},
        headers=_headers(message),
    )


def _request(run: Run) -> Context:
    message = run.message
    return Context(
        **_headers(message),
        args=["a"],
        kwargs={"b": 1},
        hostname=run.worker,
        delivery_info={"routing_key": message.queue},
    )
