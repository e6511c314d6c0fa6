"""Connections to the database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakSet

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.pool import ConnectionPoolEntry

from cadasta.workertoolbox.results._errors import DatabaseUnavailable, InvalidURL

#: Seconds to wait for a server that does not answer.
CONNECT_TIMEOUT_S = 10

#: Seconds to wait for another process that writes to the same SQLite file.
BUSY_TIMEOUT_S = 60

_engines: WeakSet[Engine] = WeakSet()


def database_url(result_backend: object) -> URL:
    """Return the database behind a `result_backend` setting.

    Args:
        result_backend: `workertoolbox+…`, Celery's `db+…`, or SQLAlchemy's own URL.

    Raises:
        InvalidURL: It names no SQL database that can be opened here.
    """
    text = str(result_backend or "").removeprefix("workertoolbox+").removeprefix("db+")
    try:
        url = make_url(text)
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        shown = text.partition("://")[0]
        raise InvalidURL(
            f"result_backend {shown!r} is no SQL database; set it to "
            "workertoolbox+postgresql+psycopg2://… or workertoolbox+sqlite:///…"
        ) from None
    return url


def open_engine(url: URL, **options: Any) -> Engine:
    """Return an engine whose connections outlive neither a fork nor a dead server.

    Raises:
        InvalidURL: The driver is not installed.
    """
    sqlite = url.get_backend_name() == "sqlite"
    timeout = (
        {"timeout": BUSY_TIMEOUT_S}
        if sqlite
        else {"connect_timeout": CONNECT_TIMEOUT_S}
    )
    try:
        engine = create_engine(url, connect_args=timeout, pool_pre_ping=True, **options)
    except ModuleNotFoundError as error:
        raise InvalidURL(
            f"the driver of {url.drivername!r} is not installed ({error.name}); "
            "install workertoolbox-results[postgresql]"
        ) from error
    if sqlite:
        event.listen(engine, "connect", _write_ahead)
    _engines.add(engine)
    return engine


@contextmanager
def reaching(engine: Engine) -> Iterator[None]:
    """Turn a database that cannot be reached into one clear error.

    Raises:
        DatabaseUnavailable: With the masked URL and the driver's reason.
    """
    try:
        yield
    except OperationalError as error:
        shown = engine.url.render_as_string(hide_password=True)
        reason = " ".join(str(error.orig).split())
        raise DatabaseUnavailable(
            f"database {shown} cannot be used: {reason}; "
            "check result_backend, and that the server runs"
        ) from error


def insert_into(table: Table, bind: Engine | Connection) -> Insert:
    """Return an INSERT that can say ON CONFLICT.

    PostgreSQL and SQLite write it alike, and SQLAlchemy has a class for each.
    """
    if bind.dialect.name == "sqlite":
        return cast(Insert, sqlite.insert(table))
    return postgresql.insert(table)


def is_outage(error: DBAPIError) -> bool:
    """Return whether the same statement may succeed later."""
    return error.connection_invalidated or isinstance(error, OperationalError)


def _write_ahead(connection: Any, _: ConnectionPoolEntry) -> None:
    # Readers and one writer at once; WAL is safe with NORMAL against a crash of the
    # process, and `FULL`, the default, against one of the machine: we keep that.
    connection.execute("PRAGMA journal_mode=WAL")


def _forget_connections() -> None:
    for engine in _engines:
        engine.dispose(close=False)  # the parent goes on using them


os.register_at_fork(after_in_child=_forget_connections)
