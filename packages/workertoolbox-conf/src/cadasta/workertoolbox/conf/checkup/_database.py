"""Whether the database answers, and has the tables that this code needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.conf._brokers.connection import error_text
from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok, skipped
from cadasta.workertoolbox.results import (
    DatabaseUnavailable,
    InvalidURL,
    SchemaOutdated,
    check_schema,
    database_url,
    open_engine,
)

#: PostgreSQL's `insufficient_privilege` and `undefined_table`: see appendix A of its
#: manual.
_DENIED = "42501"
_NO_TABLE = "42P01"

_UPGRADE = "run `celery -A … tasks upgrade`"


def database(context: CheckContext) -> Iterator[Finding]:
    """Connect, and say to which server and by which driver."""
    try:
        engine = open_engine(database_url(context.app.conf.result_backend))
    except InvalidURL as error:
        yield failed("database", *_halves(error))
        return
    context.engine = engine
    shown = engine.url.render_as_string(hide_password=True)
    file = engine.url.database
    # SQLite would make it.
    if engine.dialect.name == "sqlite" and file and not Path(file).exists():
        yield failed("database", f"{shown} is no file", _UPGRADE)
        return
    try:
        server = _server(engine)
    except DBAPIError as error:
        yield failed(
            "database",
            f"{shown} cannot be used: {' '.join(str(error.orig).split())}",
            "check result_backend, and that the server runs",
        )
    else:
        yield ok("database", f"{shown} answers: {server}")


def schema(context: CheckContext) -> Iterator[Finding]:
    """Compare the revision of the tables with the one of this code."""
    try:
        revision = check_schema(context.database)
    except SchemaOutdated as error:
        yield failed("schema", *_halves(error))
    except DatabaseUnavailable as error:
        if _is_denied(error):
            yield skipped("schema", "this role may not read the version of the schema")
        else:
            yield failed("schema", *_halves(error))
    else:
        yield ok("schema", f"revision {revision}")


def why_unreadable(error: DatabaseUnavailable) -> str | None:
    """Return why tables cannot be read, or None if the error has another cause."""
    if _is_denied(error):
        return "this role may not read the tables"
    if _code(error) == _NO_TABLE or "no such table" in driver_reason(error):
        return "the tables are not there"
    return None


def driver_reason(error: DatabaseUnavailable) -> str:
    """Return what the driver says, in one line."""
    return error_text(getattr(error.__cause__, "orig", error))


def _is_denied(error: DatabaseUnavailable) -> bool:
    """Return whether PostgreSQL refuses the statement to this role."""
    return _code(error) == _DENIED


def _code(error: DatabaseUnavailable) -> str | None:
    """Return PostgreSQL's SQLSTATE."""
    return getattr(getattr(error.__cause__, "orig", None), "pgcode", None)


def _server(engine: Engine) -> str:
    driver: object = engine.dialect.dbapi
    # psycopg2 says more behind a blank.
    version = str(getattr(driver, "__version__", "")).partition(" ")[0]
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.execute(text("SELECT 1 FROM sqlite_master"))
            return f"SQLite {sqlite3.sqlite_version}"
        server = str(connection.scalar(text("SHOW server_version"))).partition(" ")[0]
    return f"PostgreSQL {server}, by {engine.dialect.driver} {version}"


def _halves(error: Exception) -> tuple[str, str]:
    """Return what an error of ours says, and what it says to do."""
    detail, _, advice = str(error).rpartition("; ")
    return detail, advice
