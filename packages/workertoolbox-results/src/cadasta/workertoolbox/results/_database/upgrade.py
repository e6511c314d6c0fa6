"""Upgrades of a database to the newest revision of the schema, with alembic."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, event, func, select, text
from sqlalchemy.exc import OperationalError

from cadasta.workertoolbox.results._database.engine import (
    database_url,
    open_engine,
    translate_errors,
)
from cadasta.workertoolbox.results._database.leftovers import (
    drop_indexes,
    drop_tables,
    require_finished,
)
from cadasta.workertoolbox.results._database.outages import is_blocked, one_line
from cadasta.workertoolbox.results._database.result_ids import widen_result_ids
from cadasta.workertoolbox.results._database.schema import current_revision
from cadasta.workertoolbox.results._database.tables import (
    attempt,
    planned,
    task,
    taskmeta,
)
from cadasta.workertoolbox.results._errors import UnsupportedServer

#: Key of the advisory lock that an upgrade holds in PostgreSQL. The number is
#: arbitrary, but must never change.
ADVISORY_LOCK_KEY = 0x776F726B

#: Seconds between two attempts to get that lock.
LOCK_RETRY_S = 0.2

#: Seconds for which a migration waits for a lock on a table. The statements of workers
#: wait behind it, so it gives up and tries again after a pause of the same length.
TABLE_LOCK_S = 0.25

#: Tables with many rows that get columns or indexes. PostgreSQL knows nothing of the
#: values in a new column until it analyzes the table, and sorted all ended results for
#: each batch of the archiver. The archiver analyzes the history itself.
ANALYZED = (taskmeta, task, attempt, planned)

#: The oldest version of PostgreSQL: functions with `BEGIN ATOMIC` need it.
MIN_POSTGRESQL = 14

_logger = logging.getLogger(__name__)


def upgrade(
    url: str,
    *,
    widen_ids: bool = False,
    finish: bool = False,
    archive_after_s: float = 60.0,
) -> str:
    """Create the tables, or bring them up to date, and return the revision.

    If two upgrades run at the same time, one waits for the other. An interrupted
    upgrade is rolled back, or the next upgrade continues it. If another transaction
    holds a lock on a table, the upgrade waits for its end, and workers go on meanwhile.

    Args:
        url: As in `result_backend`. Its role must be allowed to create tables.
        widen_ids: Whether to rewrite Celery's tables so that they hold more rows,
            however large they are. They are locked meanwhile.
        finish: Whether to drop what only earlier releases use; see `leftovers.py`.
            Processes of earlier releases must be stopped before.
        archive_after_s: Seconds from the end of a task until it is archived.

    Raises:
        DatabaseUnavailable: The database cannot be reached or reports an error.
        InvalidURL: The URL does not name a supported database.
        UnsupportedServer: The server is older than PostgreSQL 14.
        UpgradeUnfinished: With `finish`, earlier releases still need their tables.
    """
    engine = open_engine(database_url(url))
    try:
        with translate_errors(engine), _locked_connection(engine) as connection:
            _check_server(connection)
            before = current_revision(connection)
            _change(connection, partial(_migrate, widen_ids=widen_ids))
            if before not in (None, current_revision(connection)):
                _change(connection, _analyze)
            if finish:
                archive_after = timedelta(seconds=archive_after_s)
                require_finished(connection, archive_after=archive_after)
            if finish or before is None:
                _contract(connection)
            return current_revision(connection) or ""
    finally:
        engine.dispose()


def _check_server(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        version, *_ = connection.dialect.server_version_info or (0,)
        if int(version) < MIN_POSTGRESQL:
            raise UnsupportedServer(
                f"the server is PostgreSQL {version}; the toolbox needs "
                f"{MIN_POSTGRESQL} or later"
            )


def _migrate(connection: Connection, *, widen_ids: bool) -> None:
    command.upgrade(alembic_config(connection), "head")
    if widen_ids and connection.dialect.name == "postgresql":
        widen_result_ids(connection)


def _analyze(connection: Connection) -> None:
    """Collect statistics; this blocks neither readers nor writers."""
    for table in ANALYZED:
        # Another process that analyzes or vacuums the table does the same.
        locked = "(SKIP_LOCKED) " if connection.dialect.name == "postgresql" else ""
        connection.exec_driver_sql(f"ANALYZE {locked}{table.name}")


def _contract(connection: Connection) -> None:
    """Drop what only earlier releases use; an interrupted call can be repeated."""
    if connection.dialect.name == "postgresql":
        # The other connection waits for all transactions that use the table.
        connection.rollback()
        with connection.engine.connect() as other:
            drop_indexes(other.execution_options(isolation_level="AUTOCOMMIT"))
    else:
        drop_indexes(connection)
    _change(connection, drop_tables)


def _change(connection: Connection, change: Callable[[Connection], object]) -> None:
    """Change the schema; try again if a table is locked."""
    if connection.dialect.name != "postgresql":
        change(connection)
        return
    # Alembic does not commit a transaction that had begun before.
    connection.rollback()
    while True:
        try:
            change(connection)
            connection.commit()
            return
        except OperationalError as error:
            if not is_blocked(error):
                raise
            _logger.warning("waiting for another transaction: %s", one_line(error))
        connection.rollback()
        time.sleep(TABLE_LOCK_S)


def _limit_lock_waits(connection: Connection) -> None:
    # Has no effect outside a transaction, where CREATE INDEX CONCURRENTLY waits.
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{TABLE_LOCK_S}s'")


def alembic_config(connection: Connection) -> Config:
    """Return alembic's configuration for migrations on a connection."""
    config = Config()
    folder = Path(__file__).parents[1] / "migrations"
    # ConfigParser interpolates values, so a percent sign is doubled.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _locked_connection(engine: Engine) -> Iterator[Connection]:
    """Yield a connection for an upgrade while no other upgrade runs."""
    if engine.dialect.name == "sqlite":
        with engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
        return
    # A second connection holds the lock: the migrations end their transactions, and
    # pgbouncer does not keep a lock of the session.
    with engine.connect() as guard, engine.connect() as connection:
        event.listen(connection, "begin", _limit_lock_waits)
        # Polled, because waiting for the lock could deadlock: CREATE INDEX CONCURRENTLY
        # in the running upgrade would wait for the waiting transaction.
        while not guard.scalar(
            select(func.pg_try_advisory_xact_lock(ADVISORY_LOCK_KEY))
        ):
            guard.rollback()
            time.sleep(LOCK_RETRY_S)
        guard.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection
