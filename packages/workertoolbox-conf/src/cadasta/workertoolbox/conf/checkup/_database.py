"""Check that the database answers and has the tables that this release needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.conf._brokers.connection import error_text
from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import (
    Finding,
    failed,
    ok,
    skipped,
    warning,
)
from cadasta.workertoolbox.results import (
    DatabaseUnavailable,
    InvalidURL,
    SchemaOutdated,
    check_schema,
    database_url,
    open_engine,
    read_lock_use,
    read_result_ids,
    tasks_database,
)
from cadasta.workertoolbox.routing import results_elsewhere

#: SQLSTATE `insufficient_privilege` and `undefined_table`: appendix A of PostgreSQL's
#: documentation.
_INSUFFICIENT_PRIVILEGE = "42501"
_UNDEFINED_TABLE = "42P01"

#: What to do about missing or outdated tables.
UPGRADE = "run `celery -A … tasks upgrade`"


def database(context: CheckContext) -> Iterator[Finding]:
    """Connect, and report the server and the driver."""
    try:
        engine = open_engine(database_url(tasks_database(context.app.conf)))
    except InvalidURL as error:
        yield failed("database", *_detail_and_advice(error))
        return
    context.engine = engine
    # Drivers also take a password from the query.
    shown = engine.url.set(query={}).render_as_string(hide_password=True)
    file = engine.url.database
    # Connecting would create the file.
    if engine.dialect.name == "sqlite" and file and not Path(file).exists():
        yield failed("database", f"the file of {shown} does not exist", UPGRADE)
        return
    try:
        server = _server(engine)
    except DBAPIError as error:
        yield failed(
            "database",
            f"{shown} cannot be used: {' '.join(str(error.orig).split())}",
            "correct result_backend, or start the server",
        )
    else:
        yield ok("database", f"{shown} answers: {server}")
        yield from _results(context)


def _results(context: CheckContext) -> Iterator[Finding]:
    """Say so if workers of the app store their results elsewhere."""
    kind = results_elsewhere(context.app.conf.result_backend)
    if kind is not None:
        detail = f"stored elsewhere ({kind}): how tasks end is not known here"
        yield ok("results", detail)


def schema(context: CheckContext) -> Iterator[Finding]:
    """Check that the database has the tables that this release needs."""
    try:
        revision = check_schema(context.database)
    except SchemaOutdated as error:
        yield failed("schema", *_detail_and_advice(error))
    except DatabaseUnavailable as error:
        if _is_denied(error):
            yield skipped("schema", "this role may not read the version of the schema")
        else:
            yield failed("schema", *_detail_and_advice(error))
    else:
        yield ok("schema", f"revision {revision}")
        yield from _result_ids(context.database)
        yield from _locks(context.database)


def _result_ids(engine: Engine) -> Iterator[Finding]:
    """Warn if more than half of the numbers for results are used."""
    try:
        found = read_result_ids(engine)
    except DatabaseUnavailable:
        return  # The role of a monitor may not see the numbers.
    for ids in found:
        if ids.used > ids.maximum // 2:
            yield warning(
                "result ids",
                f"{ids.table}.id has used {ids.used / ids.maximum:.0%} of its numbers; "
                "without numbers no result can be stored",
                "run `celery -A … tasks upgrade --widen-ids` as the owner of the "
                "tables; workers wait meanwhile, about ten seconds for a GiB",
            )


def _locks(engine: Engine) -> Iterator[Finding]:
    """Warn if queries on the whole history may fill the lock table of the server."""
    use = read_lock_use(engine)
    if use is not None and use.is_high:
        detail, _, advice = str(use).partition("; ")
        yield warning("history", detail, advice)


def why_unreadable(error: DatabaseUnavailable) -> str | None:
    """Return why tables cannot be read, or None if the error has another cause."""
    if _is_denied(error):
        return "this role may not read the tables"
    if _sqlstate(error) == _UNDEFINED_TABLE or "no such table" in driver_reason(error):
        return "the tables do not exist"
    return None


def driver_reason(error: DatabaseUnavailable) -> str:
    """Return the message of the driver, in one line."""
    return error_text(getattr(error.__cause__, "orig", error))


def _is_denied(error: DatabaseUnavailable) -> bool:
    """Return whether PostgreSQL denies this role the statement."""
    return _sqlstate(error) == _INSUFFICIENT_PRIVILEGE


def _sqlstate(error: DatabaseUnavailable) -> str | None:
    return getattr(getattr(error.__cause__, "orig", None), "pgcode", None)


def _server(engine: Engine) -> str:
    driver: object = engine.dialect.dbapi
    # The version of psycopg2 is followed by build options.
    version = str(getattr(driver, "__version__", "")).partition(" ")[0]
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.execute(text("SELECT 1 FROM sqlite_master"))
            return f"SQLite {sqlite3.sqlite_version}"
        server = str(connection.scalar(text("SHOW server_version"))).partition(" ")[0]
    return f"PostgreSQL {server}, through {engine.dialect.driver} {version}"


def _detail_and_advice(error: Exception) -> tuple[str, str]:
    """Split the message of an error of ours, which ends with what to do."""
    detail, _, advice = str(error).rpartition("; ")
    return detail, advice
