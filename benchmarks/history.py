"""How long queries take over histories of several sizes, beside a fleet that writes.

    hatch run bench history [--rows N ...] [--plans]

Each query reads a page, so it should take about the same time with any number of tasks
in the history. Each is measured alone, and then beside a monitor that archives and a
worker, both with more tasks than they can do. In a fleet these run on other machines
than the database and the reader. Here they take the time of the processors that the
server and the reader leave. The memory of the machine should hold the tables: a task
takes about a kilobyte.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, text

from cadasta.workertoolbox.results import TaskStore, upgrade
from ingest import SERVER, Fleet
from measuring.rounds import timed
from servers import postgresql, rabbitmq
from servers.access import BrokerAccess
from support.polling import wait_until
from support.query_plans import record_plans
from support.sample_history import (
    DAYS,
    RARE_QUEUE,
    archived_id,
    insert_sample_history,
)

#: Default numbers of tasks in the history.
SIZES = (1_000_000, 10_000_000)

#: How often each query runs in each database, after once.
ROUNDS = 40

#: The longest that a query may take, in milliseconds, and compared with the smallest
#: history.
LIMIT_MS, LIMIT_RATIO = 50.0, 2.0

#: Filters of `TaskStore.list`, by a description of the list. Those of `{…}` are values
#: of a sample.
LISTINGS: Mapping[str, Mapping[str, Any]] = {
    "all": {},
    "of a name": {"name": "export.3"},
    "of a rare name": {"name": "export.rare"},
    "of a name that nothing has": {"name": "nothing"},
    "of a queue": {"queue": "queue3"},
    "of a rare queue": {"queue": RARE_QUEUE},
    "failures of a name": {"status": "FAILURE", "name": "export.3"},
    **{
        status: {"status": status}
        for status in (
            *("SUCCESS", "FAILURE", "REVOKED"),
            *("STARTED", "QUEUED", "SCHEDULED", "PLANNED"),
        )
    },
}

#: Columns of a task of a number of days ago, as filters of `TaskStore.list`.
SAMPLED = (("worker", 1), ("worker", DAYS * 2 // 3), ("error_group", 1))

SAMPLE = """
SELECT {column} FROM workertoolbox_history
WHERE {column} IS NOT NULL AND day <= (now() AT TIME ZONE 'UTC')::date - {days}
ORDER BY day DESC LIMIT 1
"""

#: The size in bytes of all tables of the history with their indexes, per task.
BYTES_PER_TASK = """
SELECT sum(pg_total_relation_size(relid)) / (SELECT count(*) FROM workertoolbox_history)
FROM pg_partition_tree('workertoolbox_history')
"""

#: Whether the archiver has archived tasks of the fleet.
HAS_ARCHIVED = """
SELECT EXISTS (SELECT FROM workertoolbox_history WHERE name = 'export.project'
AND day >= (now() AT TIME ZONE 'UTC')::date)
"""


@dataclass(frozen=True)
class Times:
    """How long a query takes, in milliseconds: alone, and beside a fleet."""

    alone: float
    beside: float


def main(sizes: Sequence[int], *, plans: bool) -> None:
    """Print a line for each query, with its time in each database."""
    print(f"p95 in ms over {ROUNDS} rounds, alone and beside a fleet;", end=" ")
    print(f"at most {LIMIT_MS:.0f} ms, and {LIMIT_RATIO:.0f} × that of the first\n")
    with (
        tempfile.TemporaryDirectory() as folder,
        rabbitmq.serve(Path(folder)) as broker,
        postgresql.serve(lambda url: None, settings=SERVER) as server,
    ):
        found = {}
        for size in sizes:
            with server.database() as url, broker.access() as access:
                fill(url, size)
                found[size] = measure_database(Path(folder), access, url, plans=plans)
            report(found)


def fill(url: str, count: int) -> None:
    """Create the tables with a number of tasks in the history."""
    upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        insert_sample_history(connection, count)
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM ANALYZE")
        connection.exec_driver_sql("ANALYZE workertoolbox_history")
    engine.dispose()


def measure_database(
    folder: Path, access: BrokerAccess, url: str, *, plans: bool
) -> Mapping[str, Times | float]:
    """Return the times of each query, and other figures, by title.

    Args:
        plans: Whether to print the plans of queries that take longer than they may.
    """
    with TaskStore(url) as store:
        with store.engine.connect() as connection:
            titles = queries(store, connection)
        alone = {title: measure(query) for title, query in titles.items()}
        size = bytes_per_task(store)
        with fleet_at_work(folder, access, url) as count_written:
            before, start = count_written(), datetime.now(UTC)
            beside = {title: measure(query) for title, query in titles.items()}
            taken_s = (datetime.now(UTC) - start).total_seconds()
            rate = (count_written() - before) / taken_s
        times = {title: Times(alone[title], beside[title]) for title in titles}
        if plans:
            for title, each in times.items():
                if each.beside > LIMIT_MS:
                    print_plans(store, title, titles[title])
        return {
            **times,
            "tasks that the fleet stored in a second": rate,
            "bytes per task": size,
            "drop a day, ms": drop_ms(store),
        }


def report(found: Mapping[int, Mapping[str, Times | float]]) -> None:
    """Print the figures of each database, and the ratios to the first."""
    print(f"{'tasks':<40}", *(f"{size:>30,}" for size in found), sep="")
    first, *_ = found.values()
    for title, base in first.items():
        columns = []
        for each in found.values():
            value = each[title]
            if isinstance(value, Times) and isinstance(base, Times):
                ratio = value.beside / base.beside
                missed = value.beside > LIMIT_MS or ratio > LIMIT_RATIO
                columns.append(
                    f"{value.alone:10.1f} {value.beside:8.1f} {ratio:5.1f} ×"
                    f"{' !' if missed else '  '}"
                )
            else:
                columns.append(f"{value:,.0f}")
        print(f"{title:<40}", *(f"{column:>30}" for column in columns), sep="")


def measure(query: Callable[[], object]) -> float:
    """Return the 95th percentile of the time of a query, in milliseconds."""
    seconds = [timed(lambda _: query(), 1) for _ in range(ROUNDS + 1)][1:]
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1] * 1000


def queries(
    store: TaskStore, connection: Connection
) -> dict[str, Callable[[], object]]:
    """Return the queries by title."""
    count = connection.execute(
        text("SELECT count(*) FROM workertoolbox_history")
    ).scalar_one()
    # A task of the last hours, a task in the middle of the history, and a root there.
    numbers = (count - 17, count // 2 + 5, count // 2 // 10 * 10)
    new, old, root = (_scalar(connection, f"SELECT {archived_id(n)}") for n in numbers)
    listings = dict(LISTINGS)
    for column, days in SAMPLED:
        value = _scalar(connection, SAMPLE.format(column=column, days=days))
        title = f"of {column.replace('_', ' ')} of {days} days ago"
        listings[title] = {column: value}
    now = datetime.now(UTC)
    figures = {
        f"p95 of a name over {days} days": partial(
            store.figures, since=now - timedelta(days=days), name="export.3"
        )
        for days in (1, 30)
    }
    return {
        **{f"list: {title}": partial(store.list, **w) for title, w in listings.items()},
        "get: a task of today": partial(store.get, new),
        "get: a task of last month": partial(store.get, old),
        "find: an unknown task": partial(store.find, "unknown"),
        "attempts: of last month": partial(store.attempts, old),
        "workflow: by its root": partial(store.workflow, root),
        "children: by their parent": partial(store.children, root),
        "stuck: for longer than 15 minutes": partial(
            store.stuck, timedelta(minutes=15)
        ),
        "backlog: of the last hour": partial(
            store.backlog_samples, since=now - timedelta(hours=1)
        ),
        "backlog: of a day, by the hour": partial(
            store.backlog_samples,
            since=now - timedelta(days=1),
            step=timedelta(hours=1),
        ),
        **figures,
        "stats: by name, of a day": partial(
            store.stats, since=now - timedelta(days=1), by="name"
        ),
        "stats: by name, of 30 days": partial(
            store.stats, since=now - timedelta(days=30), by="name"
        ),
        "backlog by queue": store.backlog,
        "stuck: for longer than the p99": store.stuck_by_p99,
        "groups of errors": store.error_groups,
        "workers": store.workers,
        "services": store.services,
        "untracked: of a day": partial(store.untracked, since=now - timedelta(days=1)),
        "counts of the last hour": store.count_recent,
        "the newest task": store.newest_task,
    }


@contextmanager
def fleet_at_work(
    folder: Path, access: BrokerAccess, url: str
) -> Iterator[Callable[[], int]]:
    """Run a publisher, a monitor and a worker; yield a count of the stored ends."""
    # Tasks are archived soon, so that the archiver is at work too.
    variables = {"WORKERTOOLBOX_ARCHIVE_AFTER": "5s"}
    fleet = Fleet(folder, access, url, variables=variables, niceness=19)
    with fleet.monitor(), fleet.worker(), fleet.publisher():
        wait_until(lambda: fleet.scalar(HAS_ARCHIVED), timeout_s=120)
        count = "SELECT last_value FROM task_id_sequence"
        yield lambda: int(fleet.scalar(count))
    fleet.engine.dispose()


def print_plans(store: TaskStore, title: str, query: Callable[[], object]) -> None:
    """Print the plans of the statements of a query."""
    with record_plans(store.engine, "ANALYZE, BUFFERS") as found:
        query()
    print(f"--- {title}", *found, sep="\n\n")


def bytes_per_task(store: TaskStore) -> float:
    """Return the bytes of the history and its indexes per task."""
    with store.engine.connect() as connection:
        return float(connection.execute(text(BYTES_PER_TASK)).scalar_one())


def drop_ms(store: TaskStore) -> float:
    """Return the milliseconds in which one day is dropped, as the archiver does."""
    day = datetime.now(UTC).date() - timedelta(days=DAYS // 2)

    def drop(_: int) -> None:
        with store.engine.begin() as connection:
            connection.execute(
                text("SELECT workertoolbox_drop_day('default', :day)"), {"day": day}
            )

    return timed(drop, 1) * 1000


def _scalar(connection: Connection, query: str) -> str:
    return str(connection.exec_driver_sql(query).scalar_one())


def read_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog=os.path.basename(__file__))
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--plans", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = read_arguments()
    main(arguments.rows, plans=arguments.plans)
