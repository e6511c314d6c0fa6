"""The schema, and whether a database has it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select

from cadasta.workertoolbox.results._engine import (
    database_url,
    open_engine,
    reaching,
)
from cadasta.workertoolbox.results._errors import SchemaOutdated

#: Where alembic keeps the revision, beside any `alembic_version` of a user's own.
VERSION_TABLE = "workertoolbox_version"

#: Key of the advisory lock of an upgrade in PostgreSQL: any number, but always this.
LOCK = 0x776F726B


def upgrade(url: str) -> str:
    """Create the tables, or bring them up to date, and return the revision.

    Args:
        url: As in `result_backend`. Its role must be allowed to create tables.

    Raises:
        DatabaseUnavailable: The database cannot be reached or refuses.
        InvalidURL: It names no SQL database.
    """
    engine = open_engine(database_url(url))
    try:
        with reaching(engine), engine.begin() as connection:
            # One upgrade at a time, and all of it or nothing.
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
            command.upgrade(_config(connection), "head")
            return _revision(connection) or ""
    finally:
        engine.dispose()


def check_schema(engine: Engine) -> None:
    """Refuse a database whose tables are missing or older than this code.

    Newer ones are fine: old code runs against the new schema while a fleet is
    upgraded.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        SchemaOutdated: Says which revision is there and how to upgrade.
    """
    with reaching(engine), engine.connect() as connection:
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
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    )
    return context.get_current_revision()
