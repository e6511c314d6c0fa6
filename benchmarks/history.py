"""How long queries take over a history of several sizes, compared with the smallest.

    hatch run bench history [TASKS ...]

Each query reads a page, so it should take about the same time in all of them. The
memory of the server holds most of the tables, and each query has run before it is
measured.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, text

from cadasta.workertoolbox.results import TaskStore, upgrade
from measuring.rounds import timed
from servers import postgresql
from support.query_plans import record_plans, sequential_scans
from support.sample_history import DAYS, archived_id, insert_sample_history

#: Default numbers of tasks in the history.
SIZES = (100_000, 1_000_000)

#: How often each query runs in each database.
ROUNDS = 25

#: Filters of `TaskStore.list`, by a description of the list.
LISTINGS: Mapping[str, Mapping[str, Any]] = {
    "all": {},
    "of a name": {"name": "export.3"},
    "of a rare name": {"name": "export.rare"},
    "of a name that nothing has": {"name": "nothing"},
    "of a queue": {"queue": "queue3"},
    "of a worker": {"worker": "worker7@host"},
    "of an error group": {"error_group": "1-3"},
    "failures of a name": {"status": "FAILURE", "name": "export.3"},
    **{
        status: {"status": status}
        for status in (
            *("SUCCESS", "FAILURE", "REVOKED"),
            *("STARTED", "QUEUED", "SCHEDULED", "PLANNED"),
        )
    },
}

#: The size in bytes of all tables of the history with their indexes, per task.
BYTES_PER_TASK = """
SELECT sum(pg_total_relation_size(relid)) / :count
FROM pg_partition_tree('workertoolbox_history')
"""

DROP_DAY = "DROP TABLE workertoolbox_history_default_{day:%Y%m%d}"


def main(sizes: Sequence[int]) -> None:
    """Print a line for each query, with its time in each database."""
    with postgresql.serve(lambda url: None) as server, ExitStack() as stack:
        stores = {
            size: stack.enter_context(
                filled(stack.enter_context(server.database()), size)
            )
            for size in sizes
        }
        report(stores)


@contextmanager
def filled(url: str, count: int) -> Iterator[TaskStore]:
    """Yield a database with a number of tasks in the history."""
    upgrade(url)
    with TaskStore(url) as store:
        with store.engine.begin() as connection:
            insert_sample_history(connection, count)
        with store.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("ANALYZE workertoolbox_history")
        yield store


def report(stores: Mapping[int, TaskStore]) -> None:
    """Print the times of each query, the bytes per task, and the time to drop a day."""
    print(f"{'tasks':<34}", *(f"{size:>22,}" for size in stores), sep="  ")
    by_title = {size: queries(store, size) for size, store in stores.items()}
    [first, *_] = by_title.values()
    for title in first:
        times = [measure(found[title]) for found in by_title.values()]
        base = times[0][0]
        columns = (
            f"{median:7.1f} p95 {p95:5.1f} ms {median / base:4.1f}×"
            for median, p95 in times
        )
        print(f"{title:<34}", *columns, f"{scans(stores, title):>}", sep="  ")
    for title, read in (
        ("bytes per task", bytes_per_task),
        ("drop a day, ms", drop_ms),
    ):
        values = (read(store, size) for size, store in stores.items())
        print(f"{title:<34}", *(f"{value:22,.0f}" for value in values), sep="  ")


def measure(query: Callable[[], object]) -> tuple[float, float]:
    """Return the median and the 95th percentile of the time, in milliseconds."""
    seconds = [timed(lambda _: query(), 1) for _ in range(ROUNDS)][1:]
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    return statistics.median(seconds) * 1000, p95 * 1000


def scans(stores: Mapping[int, TaskStore], title: str) -> str:
    """Return the tables of the history that a query scans in the largest database."""
    size, store = max(stores.items())
    with record_plans(store.engine) as found:
        queries(store, size)[title]()
    tables = set().union(*(sequential_scans(plan) for plan in found))
    days = [each for each in tables if each.startswith("workertoolbox_history")]
    return f"scans {len(days)} days" if days else ""


def queries(store: TaskStore, count: int) -> dict[str, Callable[[], object]]:
    """Return the queries by title."""
    # A task of the last hours, a task in the middle of the history, and a root there.
    numbers = (count - 17, count // 2 + 5, count // 2 // 10 * 10)
    with store.engine.connect() as connection:
        new, old, root = (_scalar(connection, archived_id(n)) for n in numbers)
    age = timedelta(minutes=15)
    return {
        **{f"list: {title}": partial(store.list, **w) for title, w in LISTINGS.items()},
        "get: a task of today": partial(store.get, new),
        "get: a task of last month": partial(store.get, old),
        "attempts: of last month": partial(store.attempts, old),
        "workflow: by its root": partial(store.workflow, root),
        "children: by their parent": partial(store.children, root),
        "stuck: for longer than 15 minutes": partial(store.stuck, age),
        "counts of the last hour": store.count_recent,
        "the newest task": store.newest_task,
    }


def bytes_per_task(store: TaskStore, count: int) -> float:
    """Return the bytes of the history and its indexes per task."""
    with store.engine.connect() as connection:
        return float(
            connection.execute(text(BYTES_PER_TASK), {"count": count}).scalar_one()
        )


def drop_ms(store: TaskStore, count: int) -> float:
    """Return the milliseconds in which one day is dropped."""
    day = datetime.now(UTC).date() - timedelta(days=DAYS // 2)

    def drop(_: int) -> None:
        with store.engine.begin() as connection:
            connection.exec_driver_sql(DROP_DAY.format(day=day))

    return timed(drop, 1) * 1000


def _scalar(connection: Connection, expression: str) -> str:
    return str(connection.exec_driver_sql(f"SELECT {expression}").scalar_one())


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or SIZES)
