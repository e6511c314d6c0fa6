"""Faults of PostgreSQL, on the servers of all fleets at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from faulted.environment import APPLICATION, Database
from faulted.trial import Trial

#: How long each fault lasts, in seconds.
RESTART_S = 4.0
EXHAUSTED_S = 6.0
IDLE_S = 8.0
READING_S = 10.0
FULL_S = 10.0
READ_ONLY_S = 6.0

#: The server process of a session of a fleet.
SESSIONS = f"""
SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'
AND application_name <> '{APPLICATION}' ORDER BY backend_start
"""

#: Ends the sessions of a fleet.
CUT = SESSIONS.replace("SELECT pid", "SELECT pg_terminate_backend(pid)")

#: The tables whose rows a forgotten session has locked.
LOCKED = ("celery_taskmeta", "workertoolbox_task")

#: Seconds between two attempts to take a free connection.
GRAB_S = 0.005

#: The file that fills a disk.
BALLAST = "ballast"


def restart(trial: Trial) -> None:
    """Stop the servers, and start them after some seconds."""
    for database in trial.databases:
        database.server.close()
    try:
        trial.hold(RESTART_S)
    finally:
        for database in trial.databases:
            database.server.start()


def kill_backend(trial: Trial) -> None:
    """Kill the server process of a session: the server ends all and recovers."""
    for database in trial.databases:
        with database.engine.connect() as connection:
            pid = connection.execute(text(SESSIONS)).scalars().first()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


def exhaust_connections(trial: Trial) -> None:
    """Take all connections, also those that the fleets have had."""
    with ExitStack() as stack:
        for database in trial.databases:
            stack.enter_context(_exhausted(database))
        trial.hold(EXHAUSTED_S)


@contextmanager
def _exhausted(database: Database) -> Iterator[None]:
    engine = create_engine(
        database.cluster.url,
        poolclass=NullPool,
        connect_args={"application_name": APPLICATION},
    )
    stopping, taken = Event(), list[Connection]()

    def take() -> None:
        while not stopping.wait(GRAB_S):
            with suppress(DBAPIError):
                taken.append(engine.connect())

    with database.engine.connect() as own:
        threads = [Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            stopping.wait(1)
            own.execute(text(CUT))
            yield
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
            for connection in taken:
                connection.close()


def stay_in_transaction(trial: Trial) -> None:
    """Lock every row of the live tables in a transaction that does nothing then."""

    def lock(connection: Connection) -> None:
        for table in LOCKED:
            if connection.execute(text(f"SELECT to_regclass('{table}')")).scalar():
                connection.execute(text(f"SELECT 1 FROM {table} FOR UPDATE"))

    with _in_transactions(trial, lock):
        trial.hold(IDLE_S)


def read_long(trial: Trial) -> None:
    """Keep a snapshot of the tables open, so that no dead row can be removed."""

    def read(connection: Connection) -> None:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        for table in (*LOCKED, "workertoolbox_tasks"):
            if connection.execute(text(f"SELECT to_regclass('{table}')")).scalar():
                connection.execute(text(f"SELECT count(*) FROM {table}"))

    with _in_transactions(trial, read):
        trial.hold(READING_S)


@contextmanager
def _in_transactions(
    trial: Trial, begin: Callable[[Connection], None]
) -> Iterator[None]:
    with ExitStack() as stack:
        for database in trial.databases:
            engine = create_engine(database.cluster.url, poolclass=NullPool)
            connection = stack.enter_context(engine.connect())
            begin(connection)
        yield


def fill_disk(trial: Trial) -> None:
    """Fill the file system of the databases."""
    # All databases are on the same one.
    file = trial.databases[0].folder / BALLAST
    try:
        _fill(trial, file)
    finally:
        file.unlink(missing_ok=True)
        for database in trial.databases:
            database.server.supervise()


def _fill(trial: Trial, file: Path) -> None:
    with open(file, "wb", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    ballast.write(bytes(size))
    trial.hold(FULL_S)


def forbid_writes(trial: Trial) -> None:
    """Make every new transaction read-only, as on a standby."""
    try:
        _set_read_only(trial, "ALTER SYSTEM SET default_transaction_read_only = on")
        trial.hold(READ_ONLY_S)
    finally:
        _set_read_only(trial, "ALTER SYSTEM RESET default_transaction_read_only")


def _set_read_only(trial: Trial, statement: str) -> None:
    for database in trial.databases:
        with database.engine.connect() as connection:
            connection.execute(text(statement))
            connection.execute(text("SELECT pg_reload_conf()"))
