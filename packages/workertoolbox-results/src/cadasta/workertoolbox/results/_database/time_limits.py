"""Limits on the time that the queries of a connection take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, bindparam, event, text
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._query_errors import QueryTimeout

#: PostgreSQL's code for a statement that was cancelled.
_CANCELLED = "57014"

#: Virtual instructions of SQLite between two checks of the clock: about a millisecond.
_INSTRUCTIONS = 20_000

#: The longest timeout that PostgreSQL accepts, in milliseconds.
_MAX_MS = 2**31 - 1

#: A shorter limit of the role or of the URL stays.
_SET = text(
    "SELECT set_config('statement_timeout', :limit, true)"
    " WHERE CAST(current_setting('statement_timeout') AS interval)"
    " NOT BETWEEN interval '1 ms' AND CAST(:limit || ' ms' AS interval)"
).bindparams(bindparam("limit"))


@contextmanager
def limited(connection: Connection, timeout_s: float) -> Iterator[None]:
    """Cancel the statements of a transaction that take too long together.

    The limit is exact in SQLite. In PostgreSQL, each statement may take `timeout_s`,
    and no statement begins later than that.

    Args:
        connection: A connection whose transaction has begun.
        timeout_s: Seconds for all statements of the block.

    Raises:
        QueryTimeout: The limit is exceeded.
    """
    began = time.monotonic()

    def is_over() -> bool:
        return time.monotonic() - began > timeout_s

    is_sqlite = connection.dialect.name == "sqlite"
    limit = _interrupted if is_sqlite else _cancelled
    try:
        with limit(connection, timeout_s, is_over):
            yield
    except DBAPIError as error:
        if _is_timeout(error):
            raise QueryTimeout(after_s=time.monotonic() - began) from error
        raise
    except _TooLate:
        raise QueryTimeout(after_s=time.monotonic() - began) from None


class _TooLate(Exception):
    """A statement would begin after the limit."""


@contextmanager
def _interrupted(
    connection: Connection, _: float, is_over: Callable[[], bool]
) -> Iterator[None]:
    driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(is_over, _INSTRUCTIONS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


@contextmanager
def _cancelled(
    connection: Connection, timeout_s: float, is_over: Callable[[], bool]
) -> Iterator[None]:
    limit = str(int(max(1, min(timeout_s * 1000, _MAX_MS))))
    connection.execute(_SET, {"limit": limit})

    def refuse(_: Connection, cursor: Any, statement: str, *others: Any) -> None:
        # The end of a savepoint takes no time.
        if is_over() and not statement.startswith("ROLLBACK"):
            raise _TooLate

    event.listen(connection, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", refuse)


def _is_timeout(error: DBAPIError) -> bool:
    cause: Any = error.orig
    code = getattr(cause, "pgcode", None) or getattr(cause, "sqlstate", None)
    name = getattr(cause, "sqlite_errorname", None)
    return code == _CANCELLED or name == "SQLITE_INTERRUPT"
