"""Outages: errors of a database that say nothing about the data of a statement."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.results._errors import SchemaOutdated
from cadasta.workertoolbox.results._safe_text import terminal_text

#: Errors that a statement raises because of its own data, so that trying it again is
#: useless: SQLSTATE classes (invalid data, violated constraint, too large or too
#: complex; appendix A of PostgreSQL's manual) and names of SQLite's result codes.
_ABOUT_DATA = re.compile(r"22|23|54|SQLITE_(CONSTRAINT|MISMATCH|TOOBIG|RANGE)")

#: Errors without a code that a driver raises for a value, before it asks the server.
_REFUSED_BY_DRIVER = ("DataError", "ProgrammingError")

#: PostgreSQL's codes for a missing table, function and column.
_MISSING = ("42P01", "42883", "42703")

_LOCK_NOT_AVAILABLE = "55P03"

#: PostgreSQL's code for a table that other objects depend on, such as a view.
_IS_NEEDED = "2BP01"

#: Codes for a missing privilege, and for a database that can only be read.
_REFUSED = ("42501", "25006", "SQLITE_READONLY", "SQLITE_READONLY_DIRECTORY")

#: PostgreSQL's codes for limits that a smaller batch may keep, with their settings.
_LIMITS = {
    "57014": "statement_timeout",
    "53200": "max_locks_per_transaction",
    "53400": "temp_file_limit",
}

#: Errors about data for which SQLite has no code of their own.
_ABOUT_DATA_IN_SQLITE = re.compile("malformed JSON|integer overflow")

#: SQLite has no codes for them.
_MISSING_IN_SQLITE = re.compile("no such (table|column)|has no column named")

#: Maximum length of a reason in a line of log.
MAX_REASON_LENGTH = 300


def is_outage(error: BaseException) -> bool:
    """Return whether the same statement may succeed later.

    That holds for every error that is not about the data of the statement: no
    connection, a timeout, a lock, a full disk, a read-only server, a missing privilege,
    a missing table. The class of an error does not say so: psycopg2 raises
    `OperationalError` both when the server is down and when a row is too large for an
    index.

    Args:
        error: An error of SQLAlchemy, of a driver, of the operating system or of ours.
    """
    if isinstance(error, DBAPIError):
        return bool(error.connection_invalidated) or _is_driver_outage(error.orig)
    if isinstance(error, OSError | SchemaOutdated):
        return True
    return _is_of_driver(error) and _is_driver_outage(error)


def is_blocked(error: DBAPIError) -> bool:
    """Return whether a statement has waited too long for a lock of PostgreSQL."""
    return _code(error.orig) == _LOCK_NOT_AVAILABLE


def is_needed(error: DBAPIError) -> bool:
    """Return whether a table was not dropped because other objects depend on it."""
    return _code(error.orig) == _IS_NEEDED


def is_refused(error: DBAPIError) -> bool:
    """Return whether the database does not let this role, or anyone, make a change."""
    return _code(error.orig) in _REFUSED


def exceeded_setting(error: BaseException) -> str | None:
    """Return the setting of PostgreSQL that a statement has exceeded, if any.

    A statement with less data may keep the limit.
    """
    return _LIMITS.get(_code(getattr(error, "orig", None)) or "")


def is_outdated_schema(error: BaseException) -> bool:
    """Return whether the database lacks a table or a column."""
    if isinstance(error, SchemaOutdated):
        return True
    cause = getattr(error, "orig", None) or error
    return _code(cause) in _MISSING or bool(_MISSING_IN_SQLITE.search(str(cause)))


def one_line(error: BaseException) -> str:
    """Return the reason of an error in one line, without the values of the statement.

    PostgreSQL adds further lines with the statement and with the values of the row.
    """
    cause = getattr(error, "orig", None) or error
    diagnostics = getattr(cause, "diag", None)
    text = getattr(diagnostics, "message_primary", None) or str(cause)
    reason = " ".join(text.split()) or type(cause).__name__
    if code := _code(cause):
        reason = f"{reason} ({code})"
    return terminal_text(reason[:MAX_REASON_LENGTH])


def _is_of_driver(error: BaseException) -> bool:
    """Return whether an error is a `DatabaseError` or `InterfaceError` of PEP 249."""
    names = {each.__name__ for each in type(error).__mro__}
    return bool(names & {"DatabaseError", "InterfaceError"})


def _is_driver_outage(error: BaseException | None) -> bool:
    if code := _code(error):
        is_about_data = _ABOUT_DATA.match(code) or (
            code == "SQLITE_ERROR" and _ABOUT_DATA_IN_SQLITE.search(str(error))
        )
        return not is_about_data
    return type(error).__name__ not in _REFUSED_BY_DRIVER


def _code(error: Any) -> str | None:
    """Return the SQLSTATE, or the name of SQLite's result code, if there is one."""
    for name in ("pgcode", "sqlstate", "sqlite_errorname"):
        if code := getattr(error, name, None):
            return str(code)
    return None
