"""Database engines, and the errors that their connections raise."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast
from weakref import WeakSet

from sqlalchemy import (
    URL,
    Connection,
    Dialect,
    Engine,
    Table,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InvalidatePoolError,
    NoSuchModuleError,
)
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from cadasta.workertoolbox.results._database.outages import one_line
from cadasta.workertoolbox.results._database.url import VARIABLE, check_login
from cadasta.workertoolbox.results._errors import DatabaseUnavailable, InvalidURL

#: Seconds to wait for a PostgreSQL server that does not answer.
CONNECT_TIMEOUT_S = 10

#: Seconds to wait while another process writes to the same SQLite file.
BUSY_TIMEOUT_S = 60

#: Seconds between two attempts to enable the write-ahead log of a SQLite file.
WAL_RETRY_S = 0.01

_DATABASES = ("postgresql", "sqlite")

#: Marks a connection that was used.
_USED = "workertoolbox_used"

#: Whether connections are taken from pools without a ping.
_is_unchecked = ContextVar("is_unchecked", default=False)

_engines: WeakSet[Engine] = WeakSet()

#: The pools of the process that this one was forked from.
_inherited: list[Pool] = []


def database_url(result_backend: object) -> URL:
    """Return the database URL of a `result_backend` setting.

    Args:
        result_backend: `workertoolbox+…`, Celery's `db+…`, or a URL for SQLAlchemy.

    Raises:
        InvalidURL: The setting does not name a supported database.
    """
    text = str(result_backend or "").removeprefix("workertoolbox+").removeprefix("db+")
    check_login(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        scheme = text.partition(":")[0]
        is_malformed = scheme.partition("+")[0] in _DATABASES
        raise InvalidURL(
            (_malformed if is_malformed else _unsupported)(scheme)
        ) from None
    if url.get_backend_name() not in _DATABASES:
        raise InvalidURL(_unsupported(url.drivername))
    return url


def _malformed(scheme: str) -> str:
    return (
        f"result_backend '{scheme}://********' is malformed; write "
        f"workertoolbox+{scheme}://USER:PASSWORD@HOST:5432/DATABASE, with user and "
        "password percent-encoded"
    )


def _unsupported(scheme: str) -> str:
    return (
        f"result_backend {scheme!r} is not a supported database; set it to "
        "workertoolbox+postgresql+psycopg2://… or workertoolbox+sqlite:///…, or, if "
        f"`track` leaves results where they are, set {VARIABLE} in the environment of "
        "monitors and commands"
    )


def shown_url(url: URL) -> str:
    """Return a URL for messages: with its password masked, and without its query.

    Drivers also take a password from the query, as in `?password=…`.
    """
    return url.set(query={}).render_as_string(hide_password=True)


def open_engine(url: URL, *, pings: bool = True, **options: Any) -> Engine:
    """Return an engine that replaces its connections after a fork or a server restart.

    Args:
        pings: Whether a connection of the pool is checked before each use, except in
            `unchecked`.
        options: Passed to SQLAlchemy's `create_engine`.

    Raises:
        InvalidURL: The driver is unknown or not installed.
    """
    is_sqlite = url.get_backend_name() == "sqlite"
    timeout, limit_s = (
        ("timeout", BUSY_TIMEOUT_S)
        if is_sqlite
        else ("connect_timeout", CONNECT_TIMEOUT_S)
    )
    defaults = {
        # What the URL says comes first.
        "connect_args": {} if timeout in url.query else {timeout: limit_s},
        # The values of rows may be confidential, so errors do not show them.
        "hide_parameters": True,
    }
    try:
        engine = create_engine(url, **{**defaults, **options})
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise InvalidURL(
            f"the driver of {url.drivername!r} cannot be loaded ({error}); run "
            f'pip install "{_installed()}[postgresql]", and write '
            "workertoolbox+postgresql+psycopg2://… where the database is named: in "
            f"result_backend, or with `track` in the variable {VARIABLE}"
        ) from None
    if is_sqlite:
        event.listen(engine, "connect", _enable_write_ahead_log)
    elif pings:
        event.listen(engine, "checkout", partial(_ping, engine.dialect))
    _engines.add(engine)
    return engine


@contextmanager
def unchecked() -> Iterator[None]:
    """Take connections from pools without a ping, which is a round trip.

    For callers that open another connection if their first statement finds a dead one.
    """
    token = _is_unchecked.set(True)
    try:
        yield
    finally:
        _is_unchecked.reset(token)


def _ping(
    dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _: object
) -> None:
    is_new = _USED not in record.info
    record.info[_USED] = True
    if is_new or _is_unchecked.get():
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        if dialect.is_disconnect(error, connection, None):
            # SQLAlchemy replaces this connection and all that are as old.
            raise InvalidatePoolError from error
        raise


def _installed() -> str:
    """Return the distribution whose extra a service installs to get a driver."""
    try:
        version("workertoolbox-conf")
    except PackageNotFoundError:
        return "workertoolbox-results"
    return "workertoolbox-conf"


def _enable_write_ahead_log(connection: Any, _: ConnectionPoolEntry) -> None:
    # Readers and one writer do not block each other in this mode. `synchronous` keeps
    # its default, FULL: NORMAL protects against a crash of the process, but not of the
    # machine.
    ((limit_ms,),) = connection.execute("PRAGMA busy_timeout")
    give_up_at = time.monotonic() + limit_ms / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # SQLite does not wait for another process that writes to a new file.
            is_busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() >= give_up_at:
                raise
        time.sleep(WAL_RETRY_S)


def _forget_connections() -> None:
    for engine in _engines:
        # The parent process still uses them. They are kept, because a SQLite file must
        # not be closed here, not even when the connection is garbage.
        _inherited.append(engine.pool)
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_connections)


@contextmanager
def translate_errors(engine: Engine) -> Iterator[None]:
    """Turn any error of the driver into `DatabaseUnavailable`.

    Raises:
        DatabaseUnavailable: Its message contains the URL, without secrets, and the
            driver's reason.
    """
    try:
        yield
    except DBAPIError as error:
        shown = shown_url(engine.url)
        raise DatabaseUnavailable(
            f"database {shown} cannot be used: {one_line(error)}; check "
            "result_backend, the privileges of its role, and whether the server is "
            "running"
        ) from error


def begin_write_transaction(connection: Connection) -> None:
    """Lock a SQLite database against other writers, as it cannot lock single rows."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def insert_into(table: Table, dialect: str) -> Insert:
    """Return an INSERT that supports ON CONFLICT.

    PostgreSQL and SQLite have the same syntax, but SQLAlchemy has a class for each.
    """
    if dialect == "sqlite":
        return cast(Insert, sqlite.insert(table))
    return postgresql.insert(table)
