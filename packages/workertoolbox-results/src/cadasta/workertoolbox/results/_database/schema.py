"""Revisions of the schema: the one that this release needs, and that of a database.

Monitors and readers import this module, so it does not load alembic; `upgrade` does.
"""

from __future__ import annotations

import math
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, column, inspect, select, table

from cadasta.workertoolbox.results._database.engine import shown_url
from cadasta.workertoolbox.results._database.time_limits import begin_limited
from cadasta.workertoolbox.results._errors import SchemaOutdated

#: The newest migration. Revisions are numbers of four digits, so they compare as text.
HEAD_REVISION = "0044"

#: The table in which alembic keeps the revision. The name is our own, because the
#: application may use alembic too, with its `alembic_version`.
VERSION_TABLE = "workertoolbox_version"

_version = table(VERSION_TABLE, column("version_num"))


def check_schema(engine: Engine, *, timeout_s: float = math.inf) -> str:
    """Return the revision of a database, or raise an error if it is outdated.

    A newer schema is accepted: during the upgrade of a fleet, old code runs against
    the new schema.

    Args:
        timeout_s: Seconds to wait while an upgrade locks the table with the revision.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        QueryTimeout: It is locked for longer.
        SchemaOutdated: The tables are missing, or older than this code. The message
            says which revision was found and how to upgrade.
    """
    with begin_limited(engine, timeout_s) as connection:
        revision = current_revision(connection)
    if revision is None or revision < HEAD_REVISION:
        shown = shown_url(engine.url)
        found = "no tables of the toolbox"
        if revision is not None:
            found = f"schema {revision}, and this release needs {HEAD_REVISION}"
        raise SchemaOutdated(
            f"database {shown} has {found}; run `celery -A … tasks upgrade`"
        )
    return revision


def check_file(url: URL) -> None:
    """Refuse a SQLite file that does not exist; a connection would create it.

    Raises:
        SchemaOutdated: There is no such file, and thus there are no tables.
    """
    is_file = url.get_backend_name() == "sqlite" and "uri" not in url.query
    if is_file and url.database not in (None, "", ":memory:"):
        if not Path(str(url.database)).exists():
            raise SchemaOutdated(
                f"database {shown_url(url)} does not exist; check the path, or run "
                "`celery -A … tasks upgrade`, which creates it"
            )


def current_revision(connection: Connection) -> str | None:
    """Return the revision of a database, or None if it has no tables of the toolbox."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(select(_version.c.version_num))
    return revision
