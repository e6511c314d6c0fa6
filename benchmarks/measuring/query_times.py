"""How long queries take over histories of several sizes, beside a fleet that writes.

Each query is measured alone, and then beside a monitor that archives and a worker, both
with more tasks than they can do. In a fleet these and the broker run on other machines
than the database and the reader, and the server has more processors. Here they and the
server's processes that work for them take the time of the processors that the reader
leaves, so that the times show how much locks, writes and dead rows delay a query. The
memory of the machine should hold the tables: a task takes about a kilobyte.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, create_engine, make_url, text

from cadasta.workertoolbox.results import TaskStore, upgrade
from ingest import SERVER, Fleet
from measuring.figures import Row
from measuring.priorities import READER, held_back, held_back_broker, hold_back
from measuring.rounds import timed
from servers import postgresql
from support.polling import wait_until
from support.query_plans import record_plans
from support.sample_history import insert_sample_history

#: Default numbers of tasks in the history.
SIZES = (1_000_000, 10_000_000)

#: How often each query is measured in each database, after a first run: at least, and
#: at most.
MIN_ROUNDS, MAX_ROUNDS = 20, 40

#: Seconds after which a query is measured at least so often, but not more often. The
#: benchmark of the pages has about forty queries, and ends within six minutes.
ENOUGH_S = 2.0

#: The longest that a query may take, in milliseconds, and compared with the smallest
#: history.
LIMIT_MS, LIMIT_RATIO = 50.0, 2.0

#: Whether the archiver has archived tasks of the fleet.
HAS_ARCHIVED = """
SELECT EXISTS (SELECT FROM workertoolbox_history WHERE name = 'export.project'
AND day >= (now() AT TIME ZONE 'UTC')::date)
"""

Queries = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Times:
    """How long a query takes, in milliseconds: alone, and beside a fleet."""

    alone: float
    beside: float


def compare_sizes(
    queries: Callable[[TaskStore, Connection], Queries],
    options: Sequence[str],
    *,
    others: Callable[[TaskStore], Mapping[str, float]] = lambda store: {},
    prepare: Callable[[str], object] = lambda url: None,
    sizes: Sequence[int] = SIZES,
    limit_ms: float = LIMIT_MS,
    limits_ms: Mapping[str, float] | None = None,
) -> Iterator[Row]:
    """Yield a row for each query, with its time in each database.

    Args:
        queries: Returns the queries by title.
        options: The options of the command.
        others: Returns further figures by title. It is called last.
        prepare: Called with the URL of each database first.
        sizes: Default numbers of tasks in the history.
        limit_ms: The longest that a query may take, in milliseconds.
        limits_ms: The same by title, for queries that may take longer.
    """
    limits = defaultdict(lambda: limit_ms, limits_ms or {})
    arguments = _read_arguments(options, sizes)
    with (
        tempfile.TemporaryDirectory() as folder,
        held_back_broker(Path(folder)) as broker,
    ):
        found: dict[int, Mapping[str, Times | float]] = {}
        for size, url in databases(arguments.databases, arguments.rows):
            with broker.access() as access:
                prepare(url)
                print(f"{size:,} tasks are stored", file=sys.stderr, flush=True)
                reader = make_url(url).update_query_dict({"application_name": READER})
                with (
                    TaskStore(reader.render_as_string(hide_password=False)) as store,
                    store.engine.connect() as connection,
                ):
                    titles = queries(store, connection)
                    connection.rollback()
                    fleet = Fleet(
                        Path(folder),
                        access,
                        url,
                        # Tasks are archived soon, so that the archiver is at work too.
                        variables={"WORKERTOOLBOX_ARCHIVE_AFTER": "5s"},
                    )
                    times = measure_queries(fleet, titles)
                    if arguments.plans:
                        print_slow(store, titles, times, limits)
                    found[size] = {**times, **others(store)}
        yield from report(found, limits, limit_ms)


def databases(urls: Sequence[str], sizes: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield the size of each database, and its URL.

    Args:
        urls: Databases that are filled already; without any, new ones are made.
        sizes: Numbers of tasks in the history of new databases.
    """
    for url in urls:
        engine = create_engine(url)
        with engine.connect() as connection:
            count = "SELECT count(*) FROM workertoolbox_history"
            size = int(scalar(connection, count))
        engine.dispose()
        yield size, url
    if urls:
        return
    with postgresql.serve(lambda url: None, settings=SERVER) as server:
        for size in sizes:
            with server.database() as url:
                fill(url, size)
                yield size, url


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


def measure_queries(fleet: Fleet, titles: Queries) -> dict[str, Times | float]:
    """Return the times of each query by title, and how fast the fleet was."""
    alone = {title: measure(query) for title, query in titles.items()}
    with fleet_at_work(fleet) as count_stored:
        before, start = count_stored(), datetime.now(UTC)
        beside = {title: measure(query) for title, query in titles.items()}
        taken_s = (datetime.now(UTC) - start).total_seconds()
        rate = (count_stored() - before) / taken_s
    times = {title: Times(alone[title], beside[title]) for title in titles}
    return {**times, "ends that the fleet stored in a second": rate}


def measure(query: Callable[[], object]) -> float:
    """Return the 95th percentile of the time of a query, in milliseconds."""
    query()
    seconds: list[float] = []
    begin = time.perf_counter()
    while len(seconds) < MAX_ROUNDS:
        if len(seconds) >= MIN_ROUNDS and time.perf_counter() - begin > ENOUGH_S:
            break
        seconds.append(timed(lambda _: query(), 1))
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1] * 1000


@contextmanager
def fleet_at_work(fleet: Fleet) -> Iterator[Callable[[], int]]:
    """Run a publisher, a monitor and a worker; yield a count of the stored ends."""
    with (
        fleet.monitor() as monitor,
        fleet.worker() as worker,
        fleet.publisher() as publisher,
        held_back(fleet),
    ):
        for process in (monitor, worker, publisher):
            hold_back(process.pid)
        wait_until(lambda: fleet.scalar(HAS_ARCHIVED), timeout_s=120)
        count = "SELECT last_value FROM task_id_sequence"
        yield lambda: int(fleet.scalar(count))
    fleet.engine.dispose()


def report(
    found: Mapping[int, Mapping[str, Times | float]],
    limits: Mapping[str, float],
    usual_ms: float,
) -> Iterator[Row]:
    """Yield the figures of each database, and whether each meets its goal.

    Args:
        found: The figures by title, by the number of tasks.
        limits: The longest that each query may take, in milliseconds, by title.
        usual_ms: The longest that most of them may take.
    """
    first, *_ = found.values()
    for title, base in first.items():
        row = {f"p95 of {MIN_ROUNDS} to {MAX_ROUNDS} rounds": f"`{title}`"}
        is_missed = False
        for size, each in found.items():
            value, beside = each[title], ""
            if isinstance(value, Times) and isinstance(base, Times):
                ratio = value.beside / base.beside
                is_missed |= value.beside > limits[title] or ratio > LIMIT_RATIO
                shown, beside = f"{value.alone:.1f} ms", f"{value.beside:.1f} ms"
            else:
                shown = f"{value:,.0f}"
            row |= {f"{size:,} tasks": shown, f"{size:,}, beside a fleet": beside}
        goal = f"at most {usual_ms:.0f} ms"
        if len(found) > 1:
            goal += f", {LIMIT_RATIO:g} × the first"
        own = [f"at most {limits[title]:.0f} ms"] * (limits[title] != usual_ms)
        yield {**row, goal: ": ".join([*["missed"] * is_missed, *own])}


def print_slow(
    store: TaskStore,
    titles: Queries,
    times: Mapping[str, Times | float],
    limits: Mapping[str, float],
) -> None:
    """Print the plans of the statements of queries that take longer than they may."""
    for title, query in titles.items():
        taken = times[title]
        if isinstance(taken, Times) and taken.beside > limits[title]:
            with record_plans(store.engine, "ANALYZE, BUFFERS") as plans:
                query()
            print(f"--- {title}", *plans, sep="\n\n")


def scalar(connection: Connection, query: str) -> str:
    """Return the first value that a query returns."""
    return str(connection.execute(text(query)).scalar_one())


def _read_arguments(options: Sequence[str], sizes: Sequence[int]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=sizes, metavar="N")
    parser.add_argument(
        "--databases",
        nargs="+",
        default=(),
        metavar="URL",
        help="use these instead of new ones; a fleet writes to them",
    )
    parser.add_argument(
        "--plans", action="store_true", help="print the plans of slow queries"
    )
    return parser.parse_args(options)
