"""The cost of storing results and of waiting for them.

The toolbox's backend is compared with Celery's backends for databases and for Redis.
All else is the same plain Celery: no-op tasks on RabbitMQ, in a virtual host for each
backend, with JSON, `task_track_started` and `result_extended`. PostgreSQL waits for the
disk, as it does by default. Each figure is the median over paired rounds, printed with
the bound that it should meet.

A worker without a backend, and one whose backend only executes a prepared INSERT of
three columns, show how far one backend can be ahead of another.

Celery's database backend gets fewer tasks, about as many as it stores in a second. Of a
group it gets even fewer, once, because it reads results row by row.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery, chord, group
from celery.app.task import Context
from sqlalchemy import URL, Engine, create_engine, make_url

from measuring.figures import Row, compared
from measuring.fleet import (
    BARE,
    DATABASE,
    NONE,
    OURS,
    REDIS,
    Servers,
    Service,
    serve,
)
from measuring.rounds import Rounds, alternate, timed
from measuring.tasks import NOTHING, make_app

#: Tasks in a round of a worker, by pool and backend.
DRAINED = {
    "prefork": {OURS: 1000, DATABASE: 200, REDIS: 1000, BARE: 1000, NONE: 2000},
    "threads": {OURS: 1000, DATABASE: 60, REDIS: 1000, BARE: 1000, NONE: 2000},
}

#: The bounds: our rate as a multiple of that of Celery's database backend, which opens
#: a connection for each write outside a forked process.
DATABASE_RATIO = {"prefork": 5, "threads": 20}

#: Tasks in a group, and in a group for Celery's database backend.
GROUP = 2000
SMALL_GROUP = 200

#: Header tasks of a chord.
CHORD = 10

#: Rows in a round that stores results without a worker.
ROWS = 500

#: Workers in a fleet, and processes in each worker.
FLEET = 4


def measure() -> Iterator[Row]:
    """Yield each figure as soon as it is measured."""
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as servers:
        with servers.services(*DRAINED["prefork"]) as services:
            apps = {name: services[name].app for name in (OURS, DATABASE, REDIS)}
            with servers.workers(services.values(), "-P", "prefork", "-c", "2"):
                yield from _measure_drain("prefork", services)
                yield from _measure_get(apps)
                yield from _measure_chord(apps)
                yield from _measure_group(apps)
            with servers.workers(services.values(), "-P", "threads", "-c", "2"):
                yield from _measure_drain("threads", services)
        with servers.services(OURS) as services:
            yield from _measure_store(services[OURS])
        yield from _measure_connections(servers)


def _measure_drain(pool: str, services: Mapping[str, Service]) -> Iterator[Row]:
    rounds = alternate(
        {
            backend: partial(_drain, service, DRAINED[pool][backend])
            for backend, service in services.items()
        }
    )
    title = f"worker of two, {pool}"
    yield _rates(title, rounds, DATABASE, at_least=DATABASE_RATIO[pool])
    yield _rates(title, rounds, REDIS, at_least=0.9)
    yield _rates(title, rounds, BARE)
    yield _rates(title, rounds, NONE)


def _drain(service: Service, count: int) -> float:
    """Return the seconds per task, from the first tenth of a full queue to its end.

    The worker starts to consume when all tasks are in the queue.
    """
    queue = uuid.uuid4().hex
    service.publish(count, queue=queue)
    control = service.publisher.control
    before = service.finished.count
    control.add_consumer(queue)
    tenth, start_s = service.finished.wait_for(before + count // 10)
    all_, end_s = service.finished.wait_for(before + count)
    control.cancel_consumer(queue)
    return (end_s - start_s) / (all_ - tenth)


def _measure_get(apps: Mapping[str, Celery]) -> Iterator[Row]:
    def call(app: Celery, _: int) -> None:
        app.tasks[NOTHING].delay().get()

    rounds = alternate(_ways(apps, call), rounds=60)
    yield _times("`delay().get()`", rounds, DATABASE)
    yield _times("`delay().get()`", rounds, REDIS, at_most=2)


def _measure_chord(apps: Mapping[str, Celery]) -> Iterator[Row]:
    def call(app: Celery, _: int) -> None:
        nothing = app.tasks[NOTHING]
        chord([nothing.s(number) for number in range(CHORD)])(nothing.s()).get()

    both = {backend: apps[backend] for backend in (OURS, DATABASE)}
    rounds = alternate(_ways(both, call), rounds=5)
    yield _times(f"chord of {CHORD}", rounds, DATABASE)
    both = {backend: apps[backend] for backend in (OURS, REDIS)}
    rounds = alternate(_ways(both, call), rounds=60)
    yield _times(f"chord of {CHORD}", rounds, REDIS, at_most=1)


def _measure_group(apps: Mapping[str, Celery]) -> Iterator[Row]:
    def call(app: Celery, count: int) -> None:
        nothing = app.tasks[NOTHING]
        group(nothing.s(number) for number in range(count)).delay().get()

    pair = {backend: apps[backend] for backend in (OURS, REDIS)}
    rounds = alternate(_ways(pair, call, items=GROUP), rounds=5)
    yield _rates(f"group of {GROUP:,}", rounds, REDIS, at_least=1)
    task_s = timed(partial(call, apps[DATABASE]), SMALL_GROUP)
    title = f"group of {SMALL_GROUP}, once"
    yield compared(title, "", f"{DATABASE} {1 / task_s:,.0f}/s", "")


def _measure_store(service: Service) -> Iterator[Row]:
    """Compare with the driver alone, with and without the wait for the disk.

    The wait is the same for both. Without it, the difference is the backend's own time.
    """
    url = make_url(service.settings["result_backend"])
    yield _compare_store("`store_result`", url, at_least=0.8)
    no_wait = {"options": "-c synchronous_commit=off"}
    title = "`store_result`, without waiting for the disk"
    yield _compare_store(title, url.update_query_dict(no_wait))


def _compare_store(title: str, url: URL, *, at_least: float | None = None) -> Row:
    result_backend = url.render_as_string(hide_password=False)
    backend: Any = make_app({"result_backend": result_backend}).backend
    request = _request()

    def ours(count: int) -> None:
        for _ in range(count):
            backend.store_result(uuid.uuid4().hex, 42, "SUCCESS", request=request)

    ours(1)
    driver_url = result_backend.removeprefix("workertoolbox+")
    engine = create_engine(driver_url, isolation_level="AUTOCOMMIT")
    row = _any_row(engine)
    statement = _upsert(list(row))
    driver = engine.raw_connection()
    cursor = driver.cursor()

    def bare(count: int) -> None:
        for _ in range(count):
            cursor.execute(statement, {**row, "task_id": uuid.uuid4().hex})

    ways = {OURS: partial(timed, ours, ROWS), BARE: partial(timed, bare, ROWS)}
    rounds = alternate(ways, rounds=25)
    driver.close()
    engine.dispose()
    return _rates(title, rounds, BARE, at_least=at_least)


def _request() -> Context:
    """Return the request of a task as a worker has it when it stores the result."""
    return Context(
        task="export.export",
        args=[17, "2026-10-01"],
        kwargs={"format": "xlsx", "columns": ["id", "name", "geometry"]},
        hostname="export@worker-7c9f",
        delivery_info={"exchange": "export", "routing_key": "export"},
        retries=0,
        root_id=uuid.uuid4().hex,
        parent_id=uuid.uuid4().hex,
        group=uuid.uuid4().hex,
    )


def _any_row(engine: Engine) -> dict[str, Any]:
    """Return a row written by the toolbox's backend, as parameters for the driver."""
    with engine.connect() as connection:
        query = "SELECT * FROM celery_taskmeta LIMIT 1"
        row = connection.exec_driver_sql(query).mappings().one()
    return {k: v for k, v in row.items() if v is not None and k != "id"}


def _upsert(columns: list[str]) -> str:
    values = ", ".join(f"%({name})s" for name in columns)
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return (
        f"INSERT INTO celery_taskmeta ({', '.join(columns)}) VALUES ({values}) "
        f"ON CONFLICT (task_id) DO UPDATE SET {changes}"
    )


def _measure_connections(servers: Servers) -> Iterator[Row]:
    ours, theirs = (_count_connections(servers, each) for each in (OURS, DATABASE))
    title = f"connections of {FLEET} workers with {FLEET} processes each"
    others, goal = f"{DATABASE} {theirs}", f"at most {FLEET * FLEET} connections"
    yield compared(title, str(ours), others, f"{ours / theirs:.2f} ×", goal=goal)


def _count_connections(servers: Servers, backend: str) -> int:
    """Return the connections of a fleet after each process has run a task."""
    with servers.services(backend) as services:
        service = services[backend]
        options = ("-P", "prefork", "-c", str(FLEET))
        with servers.workers([service] * FLEET, *options):
            for published in range(100, 5000, 100):
                service.publish(100)
                service.finished.wait_for(published)
                if len(service.finished.processes) == FLEET * FLEET:
                    return servers.connections(service)
    raise TimeoutError(f"{published} tasks did not reach every process of the fleet")


def _ways(
    apps: Mapping[str, Celery], call: Callable[[Celery, int], None], *, items: int = 1
) -> dict[str, Callable[[], float]]:
    return {
        backend: partial(timed, partial(call, app), items)
        for backend, app in apps.items()
    }


def _rates(
    title: str, rounds: Rounds, other: str, *, at_least: float | None = None
) -> Row:
    ours, theirs = (f"{1 / rounds.median_s(way):,.0f}/s" for way in (OURS, other))
    ratio = f"{1 / rounds.ratio(OURS, other):.2f} × the rate"
    goal = "" if at_least is None else f"at least {at_least:g}"
    return compared(title, ours, f"{other} {theirs}", ratio, goal=goal)


def _times(
    title: str, rounds: Rounds, other: str, *, at_most: float | None = None
) -> Row:
    ours, theirs = (
        f"{rounds.median_s(way) * 1e3:,.1f} ms "
        f"(p95 {rounds.percentile_95_s(way) * 1e3:,.1f})"
        for way in (OURS, other)
    )
    ratio = f"{rounds.ratio(OURS, other):.2f} × the time"
    goal = "" if at_most is None else f"at most {at_most:g}"
    return compared(title, ours, f"{other} {theirs}", ratio, goal=goal)
