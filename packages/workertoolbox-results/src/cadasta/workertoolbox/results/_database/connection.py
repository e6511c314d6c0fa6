"""The database of a result backend, and the one connection of a process to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from sqlalchemy import URL, Connection, Dialect, NullPool

from cadasta.workertoolbox.results._database.engine import open_engine

_databases: dict[URL, Database] = {}


class Database:
    """A database with one connection, which all threads of a process share.

    Each statement is a transaction of its own, and one round trip: no `BEGIN`, no
    `COMMIT`, and no ping before it, since who gets a dead connection tries again. It is
    not given back to a pool in between: that takes a twentieth of the time of a write.

    Args:
        url: SQLAlchemy's own.

    Attributes:
        engine: For connections besides that one, which commit by themselves too.

    Raises:
        InvalidURL: The driver is unknown or not installed.
    """

    def __init__(self, url: URL) -> None:
        self.engine = open_engine(
            url,
            poolclass=NullPool,
            pool_pre_ping=False,
            isolation_level="AUTOCOMMIT",
        )
        self._connection: Connection | None = None
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        if self._connection is not None and not self._connection.invalidated:
            self._connection.detach()  # It is the parent's: no pool may close it.
        self._connection = None
        self._turn = RLock()

    @property
    def dialect(self) -> Dialect:
        """How SQLAlchemy speaks to it."""
        return self.engine.dialect

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield the connection, and keep the other threads waiting meanwhile."""
        with self._turn:
            if self._connection is None:
                self._connection = self.engine.connect()
            try:
                yield self._connection
            finally:
                self._connection.rollback()  # What SQLAlchemy takes for a transaction.

    def close(self) -> None:
        """Close the connection; the next statement opens another."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def shared_database(url: URL) -> Database:
    """Return the database of this process: Celery keeps a backend for each thread."""
    # Of threads that come at once, all get that of the first; no other has connected.
    return _databases.get(url) or _databases.setdefault(url, Database(url))
