"""The servers and processes of a soak."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from cadasta.workertoolbox.results import upgrade
from endurance.clock import Clock
from endurance.workload import CLOCK, PUBLISHED, WARM_UP
from servers import postgresql, redis
from servers.access import BrokerAccess
from support.brokers import result_backend_url, server_broker
from support.polling import wait_until
from support.processes import Process, running
from support.statements import execute, fetch

TESTS_FOLDER = Path(__file__).parent.parent

WORKERS = 2

#: Tasks that a worker runs at a time, and messages that it receives ahead for each.
THREADS, PREFETCHED = 4, 16

#: How long the history keeps tasks, and failures.
RETENTION: Mapping[str, str] = {"default": "1d", "FAILURE": "3d"}

#: How long after its end a task is archived, instead of a minute.
ARCHIVE_AFTER = "5s"

#: Milliseconds from which the server logs a statement, with the name of its session.
LOGGED_MS = 100

#: The name of the sessions that only measure.
MEASURING = "soak"

#: Messages that the monitor has inserted, by statistics that are some seconds old.
STORED = "SELECT pg_stat_get_tuples_inserted('workertoolbox_task'::regclass)"

#: The number of archived tasks.
_ARCHIVED = """
SELECT coalesce(sum(count), 0) FROM workertoolbox_rollup
WHERE tier = 'day' AND status <> 'RETRY'
"""

#: Seconds until the first tasks are published, and then until they are archived.
WARM_UP_S = 300.0

#: The clock steps over a time in which Redis would deliver messages again, and workers
#: would seem lost.
NEVER = timedelta(days=1000)


@dataclass(frozen=True)
class Fleet:
    """A running fleet.

    Attributes:
        broker: The part of Redis with the queues.
        database: The SQLAlchemy URL of the database.
        server: The process of PostgreSQL.
        processes: The monitor and the workers, by name.
        producer: The process that publishes the tasks.
    """

    clock: Clock
    broker: BrokerAccess
    database: str
    server: Process
    processes: Mapping[str, Process]
    producer: Process

    def check(self) -> None:
        """Raise an error if a process has ended by itself.

        Raises:
            ChildProcessError: It has.
        """
        for each in (*self.processes.values(), self.producer):
            if each.exit_code not in (None, 0):
                raise ChildProcessError(each.tail)


@contextmanager
def open_fleet(
    folder: Path, *, tasks: int, steps: int, vacuum_s: int
) -> Iterator[Fleet]:
    """Run a fleet, warm it up, and let a producer publish a number of tasks.

    Args:
        folder: The folder of all files.
        steps: How often the clocks will step.
        vacuum_s: Seconds between two looks of autovacuum at the database.
    """
    settings = {
        **postgresql.NOT_DURABLE,
        "autovacuum_naptime": f"{vacuum_s}s",
        "log_min_duration_statement": str(LOGGED_MS),
        "log_line_prefix": "%m %a: ",
        "application_name": "",
    }
    with ExitStack() as stack:
        cluster = stack.enter_context(postgresql.cluster(settings))
        server = stack.enter_context(cluster.running())
        broker = stack.enter_context(redis.serve(folder))
        access = stack.enter_context(broker.access())
        database = cluster.url.render_as_string(hide_password=False)
        clock = Clock(folder / "clock", database)
        upgrade(result_backend_url(database))
        environment = _environment(access, database, clock)
        run = _Runner(folder, environment)
        processes = _warmed_up(stack, run, database)
        producer = stack.enter_context(run.producer(tasks, steps=steps))
        producer.wait_for("publishing")
        yield Fleet(clock, access, database, server, processes, producer)


def _warmed_up(stack: ExitStack, run: _Runner, database: str) -> dict[str, Process]:
    """Return a monitor and workers that have processed tasks, in the largest batches.

    A process keeps the memory that its largest batch has taken. How large the batches
    of a monitor and of its archiver are depends on the load of the machine, so the
    monitor starts when all these tasks wait for it.
    """
    names = [f"worker-{number}" for number in range(1, WORKERS + 1)]
    started = {
        name: stack.enter_context(run.celery(name, *_worker(name))) for name in names
    }
    with run.producer(WARM_UP, steps=0) as producer:
        producer.wait_for(PUBLISHED, timeout_s=WARM_UP_S)
    monitor = stack.enter_context(run.celery("monitor", "tasks", "monitor"))
    for count in (_ARCHIVED, STORED):
        is_warm = partial(_has_counted, database, count, WARM_UP)
        wait_until(is_warm, timeout_s=WARM_UP_S)
    # These results would expire at once, and be most dead rows of a short soak.
    # Autovacuum has not looked yet at what the other tables hold.
    execute(database, "TRUNCATE celery_taskmeta", "VACUUM")
    return {"monitor": monitor, **started}


def _has_counted(database: str, query: str, count: int) -> bool:
    return int(fetch(database, query)[0][0]) >= count


def _environment(access: BrokerAccess, database: str, clock: Clock) -> dict[str, str]:
    options = {
        **access.transport_options,
        "visibility_timeout": int(NEVER.total_seconds()),
    }
    path = filter(None, (str(TESTS_FOLDER), os.environ.get("PYTHONPATH")))
    return {
        **server_broker("redis", access, database=database).environment,
        "WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS": json.dumps(options),
        "WORKERTOOLBOX_ARCHIVE_AFTER": ARCHIVE_AFTER,
        "WORKERTOOLBOX_LOST_AFTER": f"{NEVER.days}d",
        "WORKERTOOLBOX_RETENTION": json.dumps(RETENTION),
        "PYTHONPATH": os.pathsep.join(path),
        CLOCK: str(clock.file),
    }


def _worker(name: str) -> tuple[str, ...]:
    return (
        *("worker", "-Q", "export,celery", "-n", f"{name}@localhost"),
        *("-P", "threads", "-c", str(THREADS), "--prefetch-multiplier"),
        *(str(PREFETCHED), "--without-gossip", "--without-mingle", "-l", "WARNING"),
    )


@dataclass(frozen=True)
class _Runner:
    folder: Path
    environment: Mapping[str, str]

    def celery(self, name: str, *words: str) -> AbstractContextManager[Process]:
        return self.python(name, "-m", "celery", "-A", "endurance.service", *words)

    def producer(self, tasks: int, *, steps: int) -> AbstractContextManager[Process]:
        words = ("-m", "endurance.producer", str(tasks), str(steps))
        return self.python("producer", *words)

    def python(self, name: str, *words: str) -> AbstractContextManager[Process]:
        return running(
            [sys.executable, *words],
            folder=self.folder,
            environment=self.environment,
            name=name,
            print_output=False,
        )
