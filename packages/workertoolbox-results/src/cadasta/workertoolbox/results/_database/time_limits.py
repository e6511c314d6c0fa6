"""Limits on the time that the queries of a connection take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._database.engine import translate_errors
from cadasta.workertoolbox.results._query_errors import QueryTimeout

#: PostgreSQL's code for a statement that was cancelled.
_CANCELLED = "57014"

#: Virtual instructions of SQLite between two checks of the clock: about a millisecond.
_INSTRUCTIONS = 20_000


#: The longest timeout that PostgreSQL accepts, in milliseconds.
_MAX_MS = 2**31 - 1

#: Limits the statements of a transaction. A shorter limit of the role or of the URL
#: stays.
_LIMIT = (
    "SELECT set_config('statement_timeout', '{limit_ms}', true)"
    " WHERE CAST(current_setting('statement_timeout') AS interval)"
    " NOT BETWEEN interval '1 ms' AND interval '{limit_ms} ms'"
)


def limit_sql(timeout_s: float) -> str:
    """Return what limits each statement of a PostgreSQL transaction."""
    return _LIMIT.format(limit_ms=_limit_ms(timeout_s))


def _limit_ms(timeout_s: float) -> int:
    return int(max(1, min(timeout_s * 1000, _MAX_MS)))


@contextmanager
def begin_limited(engine: Engine, timeout_s: float) -> Iterator[Connection]:
    """Yield a connection in a transaction that waits for locks for `timeout_s`.

    In PostgreSQL, each statement may take that long.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses a statement.
        QueryTimeout: The limit is exceeded.
    """
    with translate_errors(engine), translate_limits(), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            with connection.begin():
                connection.exec_driver_sql(limit_sql(timeout_s))
                yield connection
            return
        with _impatient(connection, timeout_s), connection.begin():
            yield connection


@contextmanager
def _impatient(connection: Connection, timeout_s: float) -> Iterator[None]:
    """Let SQLite wait less long for other processes that write."""
    driver: Any = connection.connection.driver_connection
    ((usual_ms,),) = driver.execute("PRAGMA busy_timeout")
    driver.execute(f"PRAGMA busy_timeout = {min(usual_ms, _limit_ms(timeout_s))}")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout = {usual_ms}")


class TooLate(Exception):
    """A statement would begin after the limit."""


@contextmanager
def interrupted(
    connection: Connection, timeout_s: float, narrow: str = ""
) -> Iterator[None]:
    """Interrupt the statements of a block that take too long together, in SQLite.

    Args:
        narrow: As for `QueryTimeout`.

    Raises:
        QueryTimeout: The limit is exceeded.
    """
    ends_at = time.monotonic() + timeout_s
    driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(lambda: time.monotonic() > ends_at, _INSTRUCTIONS)
    try:
        with translate_limits(narrow):
            yield
    finally:
        driver.set_progress_handler(None, 0)


@contextmanager
def translate_limits(narrow: str = "") -> Iterator[None]:
    """Turn the errors of statements that exceed their limit into `QueryTimeout`.

    Args:
        narrow: As for `QueryTimeout`.

    Raises:
        QueryTimeout: The database cancelled a statement, or `TooLate` was raised.
    """
    began = time.monotonic()
    try:
        yield
    except DBAPIError as error:
        if _is_timeout(error):
            raise QueryTimeout(narrow, time.monotonic() - began) from error
        raise
    except TooLate:
        raise QueryTimeout(narrow, time.monotonic() - began) from None


def _is_timeout(error: DBAPIError) -> bool:
    cause: Any = error.orig
    code = getattr(cause, "pgcode", None) or getattr(cause, "sqlstate", None)
    name = getattr(cause, "sqlite_errorname", None)
    return code == _CANCELLED or name == "SQLITE_INTERRUPT"
