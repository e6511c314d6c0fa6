"""What the result backend does when a worker starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Thread
from typing import Any

from celery.exceptions import WorkerShutdown
from celery.utils.log import get_logger
from sqlalchemy import literal, select

from cadasta.workertoolbox.results._backend.deferred_starts import deferred_starts_for
from cadasta.workertoolbox.results._backend.release import record_release
from cadasta.workertoolbox.results._backend.retries import CHANGE_NOTHING
from cadasta.workertoolbox.results._backend.start_watch import StartWatch
from cadasta.workertoolbox.results._database.connection import Database
from cadasta.workertoolbox.results._database.engine import shown_url
from cadasta.workertoolbox.results._database.outages import is_outdated_schema, one_line
from cadasta.workertoolbox.results._database.tables import history

#: The setting by which a worker ends if the database cannot be used when it starts.
REQUIRED = "RESULT_DB_REQUIRED"

logger = get_logger(__name__)


def prepare_worker(
    consumer: Any, database: Database, build_row: Callable[..., Mapping[str, Any]]
) -> None:
    """Look at the database, record the version of the service, and see to the starts.

    The starts are those of the tasks that the worker runs.

    Args:
        consumer: The consumer of the worker, which is ready.
        build_row: Returns the row of a state: see `StartWatch`.

    Raises:
        WorkerShutdown: The database cannot be used, and `RESULT_DB_REQUIRED` is set.
    """
    if check_database(database, is_required=bool(consumer.app.conf.get(REQUIRED))):
        record_release(consumer.app, database)
    # The main process seldom needs a connection.
    database.close()
    # Only the prefork pool uses the semaphore of the worker's event loop.
    if consumer.pool.uses_semaphore:
        watch = StartWatch(database, build_row)
        Thread(target=watch.run, daemon=True).start()
    else:
        deferred_starts_for(database).runs_tasks_in_main = True


def check_database(database: Database, *, is_required: bool) -> bool:
    """Return whether the database can be used; log one line if it cannot.

    Raises:
        WorkerShutdown: The database cannot be used, and is required.
    """
    try:
        with database.connect() as connection:
            connection.execute(CHANGE_NOTHING)
            # One day, because PostgreSQL locks every table that a query plans.
            today = literal(datetime.now(UTC).date(), literal_execute=True)
            of_day = select(history.c.id).where(history.c.day == today)
            connection.execute(of_day.limit(0))
    except Exception as error:
        shown = shown_url(database.engine.url)
        logger.critical(
            "no result can be stored: database %s cannot be used: %s; %s%s",
            shown,
            one_line(error),
            "run `celery -A … tasks upgrade`"
            if is_outdated_schema(error)
            else "check result_backend",
            "" if is_required else f", or set {REQUIRED}=True to end the worker",
        )
        if is_required:
            raise WorkerShutdown(1) from None
        return False
    return True
