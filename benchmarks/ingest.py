"""How fast a monitor copies tasks into the database.

A monitor is compared with a consumer of the same queue that only acknowledges. The
difference is the cost of reading messages and writing rows. A third consumer writes
rows that were encoded before it started and reads no message, which shows the share of
the database. All messages are in the queue before the consumers start to receive them.
PostgreSQL waits for the disk, as it does by default.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from celery import Celery
from sqlalchemy import Engine, create_engine

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results import upgrade
from measuring.figures import Row, compared
from measuring.rounds import alternate
from servers import postgresql, rabbitmq
from servers.access import BrokerAccess
from support.polling import wait_until
from support.processes import Process, running

#: Messages in a round, and rounds.
MESSAGES = 50_000
ROUNDS = 3

#: Tasks that a full table holds.
FULL = 5_000_000

#: The settings of the server: durable, and large enough for the tables. An index on the
#: ids of five million tasks takes three times the default of 128 MB of shared buffers,
#: and PostgreSQL writes a page twice when it changes first after a checkpoint.
SERVER = {**postgresql.DURABLE, "shared_buffers": "2GB", "max_wal_size": "16GB"}

#: Messages that a consumer receives before it acknowledges any.
PREFETCHED = 2000

MONITOR = "platform.fifo"

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Fleet:
    """A queue, a database, and the consumers between them.

    Attributes:
        folder: Where the processes write their files.
        database: The URL of a migrated database.
        messages: The number that is published in a round.
        variables: Further settings of the monitors, as environment variables.
    """

    folder: Path
    access: BrokerAccess
    database: str
    messages: int = MESSAGES
    variables: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def app(self) -> Celery:
        """An app that publishes to the queue."""
        app = Celery("benchmark", set_as_current=False)
        options = {**self.access.transport_options, "confirm_publish": False}
        app.config_from_object(
            Config(
                ["export"],
                broker_url=self.access.url,
                broker_transport_options=options,
                result_backend=f"workertoolbox+{self.database}",
            )
        )
        return app

    @cached_property
    def engine(self) -> Engine:
        """Connections to the database."""
        return create_engine(self.database, isolation_level="AUTOCOMMIT")

    def fill(self) -> None:
        """Publish the messages of a round, with a new id for each."""
        for number in range(self.messages):
            self.app.send_task("export.project", [number, "some/folder"], {"size": 1})
        # Suspended consumers have received some of them.
        wait_until(lambda: self.waiting >= self.messages - 2 * PREFETCHED, timeout_s=60)
        self.purge("export")

    def purge(self, queue: str) -> None:
        """Empty a queue."""
        with self.app.connection_for_write() as connection:
            channel: Any = connection.default_channel
            channel.queue_purge(queue)

    @property
    def waiting(self) -> int:
        """The number of messages that no consumer has received."""
        with self.app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            return int(channel.queue_declare(MONITOR, passive=True).message_count)

    @property
    def stored(self) -> int:
        """The number of messages in the database."""
        return int(self.scalar("SELECT count(*) FROM workertoolbox_attempt"))

    def scalar(self, query: str) -> Any:
        """Return the first value that a query returns."""
        with self.engine.connect() as connection:
            return connection.exec_driver_sql(query).scalar_one()

    @contextmanager
    def monitor(self) -> Iterator[Process]:
        """Run a monitor."""
        with self.command("monitor") as process:
            process.wait_for("copying tasks")
            yield process

    def command(self, *words: str) -> AbstractContextManager[Process]:
        """Run a command of `celery tasks`."""
        return self._celery(words[0], "tasks", *words)

    def worker(self) -> AbstractContextManager[Process]:
        """Run a worker with one process."""
        return self._celery("worker", "worker", "-c", "1", "-l", "ERROR")

    def publisher(self) -> AbstractContextManager[Process]:
        """Run a publisher of more tasks than a worker can do."""
        return self._run("publisher", "-m", "measuring.publisher", "export")

    def _celery(self, name: str, *words: str) -> AbstractContextManager[Process]:
        return self._run(name, "-m", "celery", "-A", "measuring.tracked", *words)

    def _run(self, name: str, *words: str) -> AbstractContextManager[Process]:
        settings = {
            "WORKERTOOLBOX_QUEUES": "export",
            "WORKERTOOLBOX_BROKER_URL": self.access.url,
            "WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS": json.dumps(
                self.access.transport_options
            ),
            "WORKERTOOLBOX_RESULT_BACKEND": f"workertoolbox+{self.database}",
            "PYTHONPATH": str(HERE),
            **self.variables,
        }
        return running(
            [sys.executable, *words],
            folder=self.folder,
            environment=settings,
            name=f"{name}-{uuid.uuid4().hex}",
            print_output=False,
        )

    def drain(self) -> AbstractContextManager[Process]:
        """Run a consumer that only acknowledges."""
        return self._consumer("drain")

    def preencoded(self) -> AbstractContextManager[Process]:
        """Run a consumer that writes encoded rows and reads no message."""
        return self._consumer("preencoded", self.database, str(self.messages))

    @contextmanager
    def _consumer(self, name: str, *arguments: str) -> Iterator[Process]:
        module = f"measuring.{name}"
        with running(
            [sys.executable, "-m", module, self.access.url, MONITOR, *arguments],
            folder=self.folder,
            environment={"PYTHONPATH": str(HERE)},
            name=f"{name}-{uuid.uuid4().hex}",
            print_output=False,
        ) as process:
            process.wait_for("consuming")
            yield process


def measure() -> Iterator[Row]:
    """Yield the ratios."""
    with (
        tempfile.TemporaryDirectory() as folder,
        rabbitmq.serve(Path(folder)) as broker,
        postgresql.serve(lambda url: None, settings=SERVER) as databases,
        broker.access() as access,
        databases.database() as empty,
        databases.database() as full,
    ):
        for url in (empty, full):
            upgrade(url)
        fleet = Fleet(Path(folder), access, empty)
        fleet.app.send_task("export.project")  # Publishing has declared the queues.
        other = Fleet(Path(folder), access, full)
        fill_table(other.engine, FULL)
        rounds = alternate(
            {
                "nothing": partial(time_round, fleet, [fleet.drain], until=_drained),
                "preencoded": partial(
                    time_round, fleet, [fleet.preencoded], until=all_stored
                ),
                "one": partial(time_round, fleet, [fleet.monitor], until=all_stored),
                "two": partial(
                    time_round, fleet, [fleet.monitor] * 2, until=all_stored
                ),
                "full": partial(time_round, other, [other.monitor], until=all_stored),
            },
            rounds=ROUNDS,
        )
        rates = {way: 1 / rounds.median_s(way) for way in rounds.seconds}
        idle = "a consumer that only acknowledges"
        for title, way, against, base, goal in (
            ("one monitor", "one", idle, "nothing", "at least 0.85"),
            ("encoded rows", "preencoded", idle, "nothing", ""),
            ("two monitors", "two", "one monitor", "one", "1.6 where cores allow"),
            (f"into {FULL:,} tasks", "full", "into none", "one", "at least 0.9"),
        ):
            theirs = f"{against} {rates[base]:,.0f}/s"
            ratio = f"{1 / rounds.ratio(way, base):.2f} × the rate"
            yield compared(title, f"{rates[way]:,.0f}/s", theirs, ratio, goal=goal)


def time_round(
    fleet: Fleet,
    consumers: list[Callable[[], AbstractContextManager[Process]]],
    *,
    until: Callable[[Fleet, int], None],
) -> float:
    """Return the seconds per message, from the resumption to the last message."""
    fleet.purge(MONITOR)  # The previous consumer left messages that it had received.
    before = fleet.stored
    with ExitStack() as stack:
        processes = [stack.enter_context(consumer()) for consumer in consumers]
        for process in processes:
            os.kill(process.pid, signal.SIGSTOP)
        stack.callback(_resume, processes)
        fleet.fill()
        start = time.perf_counter()
        _resume(processes)
        until(fleet, before + fleet.messages)
        return (time.perf_counter() - start) / fleet.messages


def _resume(processes: list[Process]) -> None:
    for process in processes:
        os.kill(process.pid, signal.SIGCONT)


def _drained(fleet: Fleet, _: int) -> None:
    wait_until(lambda: fleet.waiting == 0, timeout_s=120)


def all_stored(fleet: Fleet, count: int) -> None:
    """Wait until the queue is empty and all messages are stored.

    The last consumer may have left messages, which are stored too.
    """
    _drained(fleet, count)
    wait_until(lambda: fleet.stored >= count, timeout_s=120)


def fill_table(engine: Engine, count: int) -> None:
    """Store tasks of the last months as monitors would."""
    with engine.connect() as connection:
        for table, id in (("task", "id"), ("attempt", "task_id")):
            more = ", origin, ignore_result" if table == "task" else ""
            values = ", 'me@host', false" if table == "task" else ""
            connection.exec_driver_sql(
                f"INSERT INTO workertoolbox_{table} ({id}, name, queue, replaced, "
                f"retries, scheduled_at, seen_at{more}) "
                "SELECT gen_random_uuid(), 'export.project', 'export', 0, 0, "
                "now() - n * interval '1 second', now() - n * interval '1 second'"
                f"{values} FROM generate_series(1, {count}) n"
            )
            connection.exec_driver_sql(f"VACUUM ANALYZE workertoolbox_{table}")
