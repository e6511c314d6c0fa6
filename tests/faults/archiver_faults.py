"""The faults that archivers survive, each at a process, the network or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from sqlalchemy import URL, Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from faults.archiver_process import APPLICATION
from faults.restartable import RestartableProcess
from support.proxy import Proxy
from support.statements import fetch

#: Ends the sessions of others.
TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
"""

OF_ARCHIVERS = f" AND application_name = '{APPLICATION}'"

#: Application name of the sessions that take up connections.
HOLDER = "holder"

OF_OTHERS = f" AND application_name <> '{HOLDER}'"

#: Rows that a transaction locks and keeps.
ROWS = ("workertoolbox_task", "celery_taskmeta", "workertoolbox_history")

#: Tasks that are shown, and their ids.
SHOWN = text("SELECT count(*), count(DISTINCT id) FROM workertoolbox_tasks")


@dataclass(frozen=True)
class Fleet:
    """The targets of faults.

    Attributes:
        database: The URL of the database, without the proxy.
        proxy: The proxy between the database and all processes.
        server: The server of the database.
        archivers: The archivers.
        wait: Waits for a number of seconds, and checks the processes meanwhile.
        random: Draws targets and durations.
        longest_s: The longest duration of a fault in seconds.
    """

    database: URL
    proxy: Proxy
    server: RestartableProcess
    archivers: Sequence[RestartableProcess]
    wait: Callable[[float], None]
    random: Random
    longest_s: float

    def rest(self) -> None:
        """Wait for as long as a fault lasts."""
        self.wait(self.random.uniform(0.1, self.longest_s))


def kill_an_archiver(fleet: Fleet) -> None:
    """Kill an archiver at any point, and start another one."""
    archiver = fleet.random.choice(fleet.archivers)
    archiver.kill()
    archiver.start()


def pause_an_archiver(fleet: Fleet) -> None:
    """Suspend an archiver at any point."""
    archiver = fleet.random.choice(fleet.archivers).process
    archiver.pause()
    try:
        fleet.rest()
    finally:
        archiver.resume()


def end_sessions_of_archivers(fleet: Fleet) -> None:
    """End the sessions of archivers, and so their lock, a few times."""
    for _ in range(3):
        fetch(fleet.database, TERMINATE + OF_ARCHIVERS)
        fleet.wait(fleet.random.uniform(0, 0.2))


def end_all_sessions(fleet: Fleet) -> None:
    """End the sessions of archivers, monitors and workers."""
    fetch(fleet.database, TERMINATE)


def cut_connections(fleet: Fleet) -> None:
    """Cut all connections without closing them at the server."""
    fleet.proxy.cut()


def kill_the_server(fleet: Fleet) -> None:
    """Kill PostgreSQL, and start it again."""
    fleet.server.kill()
    fleet.rest()
    fleet.server.start()


def exhaust_connections(fleet: Fleet) -> None:
    """Take all connections that the server allows."""
    with ExitStack() as stack:
        held = stack.enter_context(_session(fleet.database))
        for _ in range(3):
            with suppress(OperationalError):
                while True:
                    stack.enter_context(_session(fleet.database, application=HOLDER))
            held.execute(text(TERMINATE + OF_OTHERS))
        fleet.rest()


def read_for_long(fleet: Fleet) -> None:
    """Read the history twice in one snapshot."""
    with _session(fleet.database, "REPEATABLE READ") as connection:
        before = connection.execute(SHOWN).one()
        fleet.rest()
        after = connection.execute(SHOWN).one()
    assert before == after
    assert before[0] == before[1], f"a task is shown twice: {before}"


def lock_rows(fleet: Fleet) -> None:
    """Lock a message, a result and a row of the history in an idle transaction."""
    with _session(fleet.database) as connection:
        for table in ROWS:
            lock = f"SELECT 1 FROM {table} LIMIT 3 FOR UPDATE SKIP LOCKED"
            connection.execute(text(lock))
        fleet.rest()


def lock_a_day(fleet: Fleet) -> None:
    """Block writes to the table of today with an idle transaction."""
    today = f"{datetime.now(UTC):%Y%m%d}"
    with _session(fleet.database) as connection:
        lock = f"LOCK TABLE workertoolbox_history_default_{today} IN SHARE MODE"
        connection.execute(text(lock))
        fleet.rest()


def drop_days(fleet: Fleet) -> None:
    """Create and drop old days, as retention does."""
    for _ in range(5):
        day = datetime.now(UTC).date() - timedelta(days=fleet.random.randint(100, 300))
        values = {"keep": "default", "day": day}
        for function in ("workertoolbox_add_day", "workertoolbox_drop_day"):
            with suppress(OperationalError):  # Other sessions use the history.
                fetch(fleet.database, f"SELECT {function}(:keep, :day)", **values)


FAULTS = (
    kill_an_archiver,
    pause_an_archiver,
    end_sessions_of_archivers,
    end_all_sessions,
    cut_connections,
    kill_the_server,
    exhaust_connections,
    read_for_long,
    lock_rows,
    lock_a_day,
    drop_days,
)


@contextmanager
def _session(
    database: URL, isolation: str = "READ COMMITTED", *, application: str = ""
) -> Iterator[Connection]:
    database = database.update_query_dict({"application_name": application})
    engine = create_engine(database, poolclass=NullPool, isolation_level=isolation)
    with engine.connect() as connection:
        yield connection
        connection.rollback()
