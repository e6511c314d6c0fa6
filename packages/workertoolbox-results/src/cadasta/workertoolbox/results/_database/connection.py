"""The database connection that all result backends of a process share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from sqlalchemy import URL, Connection, Dialect, NullPool

from cadasta.workertoolbox.results._database.engine import open_engine
from cadasta.workertoolbox.results._database.outages import is_outage

_databases: dict[URL, Database] = {}

#: The connections of the process that this one was forked from.
_inherited: list[Connection] = []


class Database:
    """A database with one connection, which all threads of the process share.

    Each statement is a transaction and one round trip, without `BEGIN`, `COMMIT` or a
    ping. A statement that fails in an outage is retried by its caller, on a connection
    of its own: after a failover, the old one may lead to a read-only server. The
    connection does not return to a pool between statements, which would take a
    twentieth of the time of a write.

    Args:
        url: A URL for SQLAlchemy.

    Attributes:
        engine: An engine for further connections, in autocommit mode as well.

    Raises:
        InvalidURL: The driver is unknown or not installed.
    """

    def __init__(self, url: URL) -> None:
        self.engine = open_engine(
            url,
            poolclass=NullPool,
            pings=False,
            isolation_level="AUTOCOMMIT",
        )
        self._connection: Connection | None = None
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._owner = os.getpid()
        if self._connection is not None and not self._connection.invalidated:
            # The parent process still uses it, so neither the pool nor the destructor
            # of the driver may close it.
            self._connection.detach()
            _inherited.append(self._connection)
        self._connection = None
        self._lock = RLock()

    @property
    def dialect(self) -> Dialect:
        """SQLAlchemy's dialect of the database."""
        return self.engine.dialect

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield the connection; other threads wait until it is free."""
        if self._owner != os.getpid():
            self._reset()  # uWSGI forks without telling Python.
        with self._lock:
            if self._connection is None:
                self._connection = self.engine.connect()
            connection = self._connection
            try:
                yield connection
            except Exception as error:
                if is_outage(error):
                    self._drop(connection)
                raise
            finally:
                # Ends what SQLAlchemy regards as a transaction, despite autocommit.
                connection.rollback()

    def _drop(self, connection: Connection) -> None:
        if not connection.invalidated:
            connection.invalidate()
        self._connection = None

    def close(self) -> None:
        """Close the connection; the next statement opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def shared_database(url: URL) -> Database:
    """Return the database that all threads of this process share for a URL.

    Celery creates a backend for each thread.
    """
    # `setdefault` is atomic: threads that call this at the same time get the same
    # database. The others that they create never connect.
    return _databases.get(url) or _databases.setdefault(url, Database(url))
