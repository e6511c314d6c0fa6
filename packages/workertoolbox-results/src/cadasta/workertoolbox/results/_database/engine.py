"""Connections to the database."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakSet

from sqlalchemy import URL, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.pool import ConnectionPoolEntry

from cadasta.workertoolbox.results._errors import DatabaseUnavailable, InvalidURL

#: Seconds to wait for a server that does not answer.
CONNECT_TIMEOUT_S = 10

#: Seconds to wait for another process that writes to the same SQLite file.
BUSY_TIMEOUT_S = 60

#: Errors that pass. PostgreSQL's by SQLSTATE: connection, rollback, resources, not
#: available, shutdown, system (appendix A of its manual). SQLite's by name.
_PASSING = re.compile(
    r"08|40|53|55P03|55006|57P|58|SQLITE_(BUSY|LOCKED|CANTOPEN|IOERR|FULL|PROTOCOL)"
)

_engines: WeakSet[Engine] = WeakSet()


def database_url(result_backend: object) -> URL:
    """Return the database behind a `result_backend` setting.

    Args:
        result_backend: `workertoolbox+…`, Celery's `db+…`, or SQLAlchemy's own URL.

    Raises:
        InvalidURL: It names no database of a kind that is supported.
    """
    text = str(result_backend or "").removeprefix("workertoolbox+").removeprefix("db+")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InvalidURL(_unsupported(text.partition(":")[0])) from None
    if url.get_backend_name() not in ("postgresql", "sqlite"):
        raise InvalidURL(_unsupported(url.drivername))
    return url


def open_engine(url: URL, **options: Any) -> Engine:
    """Return an engine whose connections outlive neither a fork nor a dead server.

    Raises:
        InvalidURL: The driver is unknown or not installed.
    """
    embedded = url.get_backend_name() == "sqlite"
    timeout = (
        {"timeout": BUSY_TIMEOUT_S}
        if embedded
        else {"connect_timeout": CONNECT_TIMEOUT_S}
    )
    try:
        engine = create_engine(
            url, connect_args=timeout, **{"pool_pre_ping": True, **options}
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise InvalidURL(
            f"the driver of {url.drivername!r} is not installed ({error}); install "
            "workertoolbox-results[postgresql] and write postgresql+psycopg2://…"
        ) from error
    if embedded:
        event.listen(engine, "connect", _write_ahead)
    _engines.add(engine)
    return engine


def _unsupported(scheme: str) -> str:
    return (
        f"result_backend {scheme!r} is no database that is supported; set it to "
        "workertoolbox+postgresql+psycopg2://… or workertoolbox+sqlite:///…"
    )


@contextmanager
def translate_errors(engine: Engine) -> Iterator[None]:
    """Turn whatever a database refuses into one clear error.

    Raises:
        DatabaseUnavailable: With the masked URL and the driver's reason.
    """
    try:
        yield
    except DBAPIError as error:
        shown = engine.url.render_as_string(hide_password=True)
        reason = " ".join(str(error.orig).split())
        if is_outage(error):
            advice = "check result_backend, and that the server runs"
        else:
            advice = "check result_backend, and what its role may do there"
        raise DatabaseUnavailable(
            f"database {shown} cannot be used: {reason}; {advice}"
        ) from error


def insert_into(table: Table, dialect: str) -> Insert:
    """Return an INSERT that can say ON CONFLICT.

    PostgreSQL and SQLite write it alike, and SQLAlchemy has a class for each.
    """
    if dialect == "sqlite":
        return cast(Insert, sqlite.insert(table))
    return postgresql.insert(table)


def is_outage(error: DBAPIError) -> bool:
    """Tell whether the same statement may succeed later.

    The drivers' own classes do not: psycopg2 calls a row that is too large for an
    index an `OperationalError`, as it does a server that is down.
    """
    if error.connection_invalidated:
        return True
    code = getattr(error.orig, "pgcode", None) or getattr(
        error.orig, "sqlite_errorname", None
    )
    if code is None:  # no server has answered
        return isinstance(error, OperationalError | InterfaceError)
    return bool(_PASSING.match(code))


def _write_ahead(connection: Any, _: ConnectionPoolEntry) -> None:
    # Readers and one writer at once; WAL is safe with NORMAL against a crash of the
    # process, and `FULL`, the default, against one of the machine: we keep that.
    connection.execute("PRAGMA journal_mode=WAL")


def _forget_connections() -> None:
    for engine in _engines:
        engine.dispose(close=False)  # the parent goes on using them


os.register_at_fork(after_in_child=_forget_connections)
