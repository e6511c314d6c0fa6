"""Limits on the time that the queries of a connection take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._query_errors import QueryTimeout

#: PostgreSQL's code for a statement that was cancelled.
_CANCELLED = "57014"

#: Virtual instructions of SQLite between two checks of the clock: about a millisecond.
_INSTRUCTIONS = 20_000


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
