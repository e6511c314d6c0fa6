"""The schema, and whether a database has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select, text

from cadasta.workertoolbox.results._database.engine import (
    database_url,
    open_engine,
    translate_errors,
)
from cadasta.workertoolbox.results._errors import SchemaOutdated

#: Where alembic keeps the revision, beside any `alembic_version` of a user's own.
VERSION_TABLE = "workertoolbox_version"

#: Key of the advisory lock of an upgrade in PostgreSQL: any number, but always this.
LOCK = 0x776F726B

#: Seconds between two looks whether another upgrade has ended.
LOOK_S = 0.2


def upgrade(url: str) -> str:
    """Create the tables, or bring them up to date, and return the revision.

    Of two at a time one waits. What is interrupted is either undone or gone on with.

    Args:
        url: As in `result_backend`. Its role must be allowed to create tables.

    Raises:
        DatabaseUnavailable: The database cannot be reached or refuses.
        InvalidURL: It names no SQL database.
    """
    engine = open_engine(database_url(url))
    try:
        with translate_errors(engine), _alone(engine) as connection:
            command.upgrade(_config(connection), "head")
            return _revision(connection) or ""
    finally:
        engine.dispose()


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """Yield a connection for an upgrade when no other one is under way."""
    if engine.dialect.name == "sqlite":
        with engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
        return
    # On a connection of its own, because the migrations end their transactions, and a
    # lock of the session would be lost behind pgbouncer.
    with engine.connect() as guard, engine.connect() as connection:
        # Whoever waited within the server would in turn be waited for by the indexes.
        while not guard.scalar(select(func.pg_try_advisory_xact_lock(LOCK))):
            guard.rollback()
            time.sleep(LOOK_S)
        guard.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection


def check_schema(engine: Engine) -> None:
    """Refuse a database whose tables are missing or older than this code.

    Newer ones are fine: old code runs against the new schema while a fleet is
    upgraded.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        SchemaOutdated: Says which revision is there and how to upgrade.
    """
    with translate_errors(engine), engine.connect() as connection:
        revision = _revision(connection)
        scripts = ScriptDirectory.from_config(_config(connection))
    older = {script.revision for script in scripts.walk_revisions()}
    older -= set(scripts.get_heads())
    if revision is None or revision in older:
        shown = engine.url.render_as_string(hide_password=True)
        found = "no tables of the toolbox" if revision is None else f"only {revision}"
        raise SchemaOutdated(
            f"database {shown} has {found}; run `celery -A … tasks upgrade`"
        )


def _config(connection: Connection) -> Config:
    config = Config()
    folder = Path(__file__).parents[1] / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    )
    return context.get_current_revision()
