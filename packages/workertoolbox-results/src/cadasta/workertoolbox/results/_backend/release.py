"""The version of the service that a worker runs, recorded when it starts."""

from __future__ import annotations

from datetime import UTC, datetime

from celery import Celery
from celery.utils.log import get_logger
from sqlalchemy import Connection

from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.engine import insert_into
from cadasta.workertoolbox.results._database.outages import is_outdated_schema, one_line
from cadasta.workertoolbox.results._database.tables import release

#: The setting with the version of the service.
VERSION = "SERVICE_VERSION"

logger = get_logger(__name__)


def record_release(app: Celery, database: Database) -> None:
    """Store that the version of the app runs; log one line if that is not possible."""
    if not (version := app.conf.get(VERSION)):
        return
    try:
        with database.connect() as connection:
            insert_release(connection, app.main or "", str(version))
    except Exception as error:
        advice = (
            "run `celery -A … tasks upgrade`"
            if is_outdated_schema(error)
            else "check the privileges with `celery -A … tasks check --role worker`"
        )
        logger.warning(
            "charts will not mark version %s of this service: %s; %s",
            version,
            one_line(error),
            advice,
        )


def insert_release(connection: Connection, service: str, version: str) -> None:
    """Insert the row of a version, unless there is one."""
    # Without the names of columns, which would take the privilege SELECT.
    insert = insert_into(release, connection.dialect.name).on_conflict_do_nothing()
    row = {"service": service, "version": version, "first_at": datetime.now(UTC)}
    connection.execute(insert, row)
