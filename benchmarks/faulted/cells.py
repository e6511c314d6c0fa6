"""The cells of the table: each fault, and the fleets and brokers that it concerns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from faulted import databases, processes
from faulted.fleets import DATABASE, OURS, REDIS
from faulted.trial import Trial

#: The brokers, by the names that are printed.
BROKERS = {"rabbitmq": "RabbitMQ", "redis": "Redis", "sqs": "SQS"}

#: Tasks that each caller publishes in a second. SQS's emulator passes on eight or so.
RATES = {"rabbitmq": 10.0, "redis": 10.0, "sqs": 4.0}

#: Seconds without a new result after which the remaining ones are given up: longer than
#: two visibility timeouts, and than the 100 s after which kombu looks again, on Redis,
#: for messages that stay with a consumer that is gone.
QUIET_S = 25.0
REDELIVERY_S = 130.0

#: Fleets with a database.
DATABASES = (OURS, DATABASE)
ALL = (OURS, DATABASE, REDIS)


@dataclass(frozen=True)
class Cell:
    """A fault.

    Attributes:
        title: What happens, for the table.
        fault: Injects it, and lifts it after its time.
        fleets: The fleets that it concerns.
        brokers: The brokers on which it can occur.
        small_disk: Whether the databases have a small file system of their own.
        old: Whether the fleet is of the last release at first.
        takes_messages: Whether messages stay with a consumer that is gone.
    """

    title: str
    fault: Callable[[Trial], None]
    fleets: tuple[str, ...] = ALL
    brokers: tuple[str, ...] = tuple(BROKERS)
    small_disk: bool = False
    old: bool = False
    takes_messages: bool = False

    def quiet_s(self, broker: str) -> float:
        """Return the seconds without a result after which the rest is given up."""
        waits = self.takes_messages and broker == "redis"
        return REDELIVERY_S if waits else QUIET_S


#: Brokers whose server is not Amazon's.
_SERVERS = ("rabbitmq", "redis")

#: The cells, by their names on the command line.
CELLS = {
    "restart": Cell("PostgreSQL restarts, 4 s", databases.restart, DATABASES),
    "backend": Cell(
        "a server process of PostgreSQL is killed", databases.kill_backend, DATABASES
    ),
    "connections": Cell(
        "all connections to PostgreSQL are taken, 6 s",
        databases.exhaust_connections,
        DATABASES,
    ),
    "idle": Cell(
        "a session locks all live rows, idle in its transaction, 8 s",
        databases.stay_in_transaction,
        DATABASES,
    ),
    "reader": Cell("a session reads for 10 s", databases.read_long, DATABASES),
    "disk": Cell(
        "PostgreSQL's disk is full, 10 s",
        databases.fill_disk,
        DATABASES,
        small_disk=True,
    ),
    "read-only": Cell(
        "PostgreSQL is read-only, 6 s", databases.forbid_writes, DATABASES
    ),
    "broker": Cell(
        "the broker is killed, 3 s",
        processes.restart_broker,
        brokers=_SERVERS,
        takes_messages=True,
    ),
    "partition": Cell(
        "no network to the broker, 6 s",
        processes.cut_broker_off,
        takes_messages=True,
    ),
    "memory": Cell(
        "the broker's memory is full, 6 s",
        processes.raise_memory_alarm,
        brokers=_SERVERS,
    ),
    "worker": Cell("the worker is killed", processes.kill_worker, takes_messages=True),
    "monitor": Cell("the monitor is killed", processes.kill_monitor, (OURS,)),
    "archiver": Cell(
        "the archiver is killed in a transaction", processes.kill_archiver, (OURS,)
    ),
    "versions": Cell(
        "old and new version together, 12 s", processes.mix_versions, (OURS,), old=True
    ),
    "load": Cell("1.5 times the sustainable load", processes.overload),
}
