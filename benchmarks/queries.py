"""How long queries take among ten million tasks, compared with ten thousand.

Each query reads a page, so it should take about the same time in both. The memory of
the server holds most of the tables, and each query has run before it is measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection, Engine

from cadasta.workertoolbox.results import TaskStore, upgrade
from cadasta.workertoolbox.results._history.watermark import GRACE, WatermarkSweep
from measuring.rounds import timed
from servers import postgresql
from support.query_plans import record_plans, sequential_scans
from support.sample_tasks import LISTINGS, insert_sample_tasks, task_id

#: Tasks in the two databases.
MANY = 10_000_000
FEW = 10_000

#: How often each query runs in each database.
ROUNDS = 15

#: Tables that hold a row for each task.
BIG = {"workertoolbox_task", "celery_taskmeta"}

Query = Callable[[TaskStore], object]


def main() -> None:
    """Print a line for each query."""
    with (
        postgresql.serve(lambda url: None) as databases,
        databases.database() as many,
        databases.database() as few,
        filled(many, MANY) as large,
        filled(few, FEW) as small,
    ):
        report(large, small)


@contextmanager
def filled(url: str, count: int) -> Iterator[TaskStore]:
    """Yield a database with a number of tasks, as monitors leave it."""
    upgrade(url)
    with TaskStore(url) as store:
        with store.engine.begin() as connection:
            insert_sample_tasks(connection, count)
        prepare(store.engine)
        yield store


def prepare(engine: Engine) -> None:
    """Advance the watermark, and analyze the tables for the planner."""
    sweep, until = WatermarkSweep(), datetime.now(UTC) - GRACE
    is_done = False
    while not is_done:
        with engine.begin() as connection:
            is_done = sweep.advance(connection, until=until)
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM ANALYZE")


def report(large: TaskStore, small: TaskStore) -> None:
    """Print the time of each query in both databases."""
    for (title, one), another in zip(
        queries(large).items(), queries(small).values(), strict=True
    ):
        seconds = [
            [timed(lambda _: query(), 1) for _ in range(ROUNDS)]  # noqa: B023
            for query in (another, one)
        ]
        base, median = (statistics.median(each[1:]) for each in seconds)
        with record_plans(large.engine) as found:
            one()
        scans = set().union(*(sequential_scans(plan) & BIG for plan in found))
        print(
            f"{title:<34} {median * 1000:8.1f} ms, {median / base:6.2f} × the time; "
            f"sequential scans: {', '.join(sorted(scans)) or 'none'}"
        )


def queries(store: TaskStore) -> dict[str, Callable[[], object]]:
    """Return the queries by title."""
    with store.engine.connect() as connection:
        count = _count(connection)
        done, child = (
            str(connection.exec_driver_sql(f"SELECT {task_id(n)}").scalar_one())
            for n in (count // 2 + 5, count // 2)
        )
    age = timedelta(minutes=15)
    return {
        **{f"list: {title}": partial(store.list, **w) for title, w in LISTINGS.items()},
        "get: one task": partial(store.get, done),
        "workflow: by its root": partial(store.workflow, child),
        "children: by their parent": partial(store.children, child),
        "stuck: for longer than 15 minutes": partial(store.stuck, age),
        "stuck: of a name": partial(store.stuck, age, name="export.3"),
    }


def _count(connection: Connection) -> int:
    """Return the number of tasks that `VACUUM` has counted."""
    query = "SELECT reltuples FROM pg_class WHERE relname = 'workertoolbox_task'"
    counted: float = connection.exec_driver_sql(query).scalar_one()
    return round(counted / FEW) * FEW


if __name__ == "__main__":
    main()
