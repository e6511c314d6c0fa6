"""Snapshots of the rows of a PostgreSQL database, which are read in few round trips.

On a busy server a round trip takes longer than many queries, because the processes at
both ends wait for a processor. A snapshot therefore begins with one round trip, which
also finds out whether the connection is alive, and releases locks without one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.engine import unchecked
from cadasta.workertoolbox.results._database.time_limits import (
    TooLate,
    limit_sql,
    translate_limits,
)

#: Marks the point to which `release_locks` goes back. Going back also undoes settings
#: that the transaction made after it.
MARK = "SAVEPOINT marked"

_RELEASE = "ROLLBACK TO SAVEPOINT marked"

#: Begins a snapshot. PostgreSQL compiles queries that it estimates to be expensive, but
#: these are cheap: compiling them takes longer than running them.
_BEGIN = (
    f"BEGIN ISOLATION LEVEL REPEATABLE READ; {{limit}}; SET LOCAL jit = off; {MARK}"
)

#: The execution option that has the `_Reading` of a connection.
_OPTION = "workertoolbox_reading"


@dataclass(slots=True)
class _Reading:
    """The state of a snapshot.

    Attributes:
        ends_at: When it has taken too long, on the clock of `time.monotonic`; None if
            statements are not limited.
        is_release_due: Whether the next statement has to release the locks of those
            before it.
    """

    ends_at: float | None = None
    is_release_due: bool = False


@contextmanager
def open_snapshot(
    engine: Engine, timeout_s: float, narrow: str = ""
) -> Iterator[Connection]:
    """Yield a connection whose statements all see the same snapshot of the rows.

    Each statement may take `timeout_s`, and no statement begins later than that.

    Args:
        engine: An engine that `watch_snapshots` was called with.
        narrow: As for `QueryTimeout`.

    Raises:
        DBAPIError: The driver raised an error.
        QueryTimeout: The limit is exceeded.
    """
    reading = _Reading()
    with translate_limits(narrow), _begin(engine, reading, timeout_s) as connection:
        reading.ends_at = time.monotonic() + timeout_s
        try:
            yield connection
        finally:
            reading.ends_at, reading.is_release_due = None, False
            if not connection.invalidated:
                connection.exec_driver_sql("ROLLBACK")


def _begin(engine: Engine, reading: _Reading, timeout_s: float) -> Connection:
    begin = _BEGIN.format(limit=limit_sql(timeout_s))
    connection = _connect(engine, reading)
    try:
        connection.exec_driver_sql(begin)
    except DBAPIError as error:
        connection.close()
        if not error.connection_invalidated:
            raise
        # The server has closed it, for example for a restart. SQLAlchemy replaces all
        # connections that are older than this error.
        connection = _connect(engine, reading)
        connection.exec_driver_sql(begin)
    return connection


def _connect(engine: Engine, reading: _Reading) -> Connection:
    """Return a connection on which the driver begins no transactions."""
    with unchecked():
        connection = engine.connect()
    return connection.execution_options(
        isolation_level="AUTOCOMMIT", **{_OPTION: reading}
    )


def release_locks(connection: Connection) -> None:
    """Release the locks of the queries since `MARK` before the transaction ends.

    In a snapshot, the next statement releases them.

    Args:
        connection: In a transaction that only reads, sees one snapshot, and has
            executed `MARK`. SQLite has no locks to release.
    """
    reading = connection.get_execution_options().get(_OPTION)
    if reading is not None:
        reading.is_release_due = True
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_RELEASE)


def watch_snapshots(engine: Engine) -> None:
    """Let the snapshots of an engine limit their statements and release locks."""
    if engine.dialect.name == "postgresql":
        event.listen(engine, "do_execute", _execute)


def _execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Execute a statement of a snapshot; return False if SQLAlchemy is to execute it.

    Raises:
        TooLate: The snapshot has taken too long.
    """
    options = context.root_connection.get_execution_options()
    reading: _Reading | None = options.get(_OPTION)
    if reading is None:
        return False
    if reading.ends_at is not None and time.monotonic() > reading.ends_at:
        raise TooLate
    if not reading.is_release_due:
        return False
    reading.is_release_due = False
    if context.dialect.driver != "psycopg2":
        # Other drivers take parameters only for a single statement.
        cursor.execute(_RELEASE)
        return False
    cursor.execute(f"{_RELEASE}; {statement}", parameters)
    return True
