"""A results database that is open for queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from celery import Celery
from sqlalchemy import Connection, Engine

from cadasta.workertoolbox.results._database.engine import (
    database_url,
    open_engine,
    translate_errors,
)
from cadasta.workertoolbox.results._database.schema import check_file, check_schema
from cadasta.workertoolbox.results._database.snapshot import (
    open_snapshot,
    watch_snapshots,
)
from cadasta.workertoolbox.results._database.time_limits import interrupted
from cadasta.workertoolbox.results._database.url import tasks_database
from cadasta.workertoolbox.results._errors import ResultsError
from cadasta.workertoolbox.results._store.escaped_texts import escape_texts

#: Seconds after which a query is cancelled.
TIMEOUT_S = 30.0

#: What makes queries shorter, by what they can be narrowed by: an earliest time, or
#: values of tasks.
LATER = "give a later since (--since)"
NAMED = "add a name or a queue"
LATER_OR_NAMED = f"{LATER}, or {NAMED}"


class OpenDatabase:
    """The connections of `TaskStore`: a context manager that closes them.

    Args:
        url: As for `TaskStore`.
        timeout_s: As for `TaskStore`.
    """

    #: Of a store that was made by `from_engine`.
    timeout_s = TIMEOUT_S

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        if not timeout_s > 0 or math.isnan(timeout_s):
            raise ValueError(f"timeout_s must be greater than 0, got {timeout_s!r}")
        self.timeout_s = timeout_s
        self._on_close = ExitStack()
        parsed = database_url(url)
        check_file(parsed)
        self.engine = _prepared(open_engine(parsed))
        try:
            check_schema(self.engine)
        except ResultsError:
            self.close()
            raise

    @classmethod
    def for_app(cls, app: Celery, *, timeout_s: float = TIMEOUT_S) -> Self:
        """Open the database with the tasks of an app.

        It is that of `result_backend`, or the one that the environment variable
        `WORKERTOOLBOX_RESULT_BACKEND` names, if `track` leaves results elsewhere.

        Args:
            timeout_s: As for `TaskStore`.

        Raises:
            DatabaseUnavailable: The database cannot be reached.
            InvalidURL: `result_backend` does not name a supported database, or its
                driver is not installed.
            SchemaOutdated: The tables are missing or too old.
        """
        return cls(tasks_database(app.conf), timeout_s=timeout_s)

    @classmethod
    def from_engine(cls, engine: Engine) -> Self:
        """Return a store that uses an open engine, without checking its schema.

        `close` disposes of the engine.
        """
        store = cls.__new__(cls)
        store._on_close = ExitStack()
        store.engine = _prepared(engine)
        return store

    def close(self) -> None:
        """Close the connections."""
        self._on_close.close()
        self.engine.dispose()

    def call_on_close(self, function: Callable[[], object]) -> None:
        """Call a function before the connections are closed.

        For threads that ask the database: a query that runs meanwhile would keep its
        connection, and later ones would open others.
        """
        self._on_close.callback(function)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _snapshot(self, narrow: str = "") -> Iterator[Connection]:
        """Yield a connection whose statements all see the same snapshot of the rows.

        They may take `timeout_s` together.

        Args:
            narrow: As for `QueryTimeout`.
        """
        with translate_errors(self.engine):
            if self.engine.dialect.name == "postgresql":
                reader = open_snapshot(self.engine, self.timeout_s, narrow)
                with reader as connection:
                    yield connection
                return
            with self.engine.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                with interrupted(connection, self.timeout_s, narrow):
                    yield connection


def _prepared(engine: Engine) -> Engine:
    """Return an engine whose connections limit snapshots and look for stored texts."""
    watch_snapshots(engine)
    escape_texts(engine)
    return engine
