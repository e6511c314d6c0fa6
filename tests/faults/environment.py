"""The broker and the database of a fleet, and the faults that they survive.

- RabbitMQ: all faults. It confirms a message once the message is on disk.
- Redis: all faults, because it appends to its file before it confirms a message.
- SQS: all but a kill of the broker, because the emulator keeps messages in memory.
- File system: there is no server. The database file is locked instead of paused.
  Workers are only killed with their pool: after a kill of the pool processes alone, a
  worker did not run any more tasks. According to Celery's source, the pool processes
  share a lock if the broker has no event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kombu import Connection
from sqlalchemy import URL

from cadasta.workertoolbox.results import upgrade
from faults.plan import FaultAction, FaultKind
from faults.restartable import RestartableProcess
from servers import postgresql, rabbitmq, redis, sqs
from servers.access import BrokerAccess, BrokerServer
from servers.ports import HOST
from support.brokers import folder_broker, result_backend_url, server_broker
from support.processes import Process
from support.proxy import Proxy, proxied_url, run_proxy
from support.queue_contents import RedisContents, SQSContents

#: The queues of a fleet, by their names in its configuration.
QUEUES = ("celery", "export", "msg", "platform.fifo")

#: Seconds after which Redis and SQS deliver an unacknowledged message again, instead of
#: an hour and half an hour.
SHORT_VISIBILITY_TIMEOUT: dict[str, object] = {"visibility_timeout": 5}

#: Attributes of an SQS queue: messages that are visible, in flight, and delayed.
COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)

#: The names of the worker and monitor processes, which are targets of faults.
WORKERS = ("worker-export", "worker-msg")
MONITORS = ("monitor-1", "monitor-2")

_PROCESS_KILLS = [
    FaultKind(FaultAction.KILL, target) for target in (*MONITORS, *WORKERS)
]
_PROCESS_PAUSES = [
    FaultKind(FaultAction.PAUSE, target) for target in (MONITORS[0], WORKERS[0])
]
_POOL_KILLS = [FaultKind(FaultAction.KILL_POOL, target) for target in WORKERS]
_DATABASE_FAULTS = [
    FaultKind(action, "database")
    for action in (FaultAction.KILL, FaultAction.PAUSE, FaultAction.CUT)
]
_BROKER_FAULTS = [
    FaultKind(FaultAction.PAUSE, "broker"),
    FaultKind(FaultAction.CUT, "broker"),
]
_SERVER_FAULTS = [
    *_BROKER_FAULTS,
    *_PROCESS_KILLS,
    *_PROCESS_PAUSES,
    *_POOL_KILLS,
    *_DATABASE_FAULTS,
]

#: The faults that a fleet survives, by the name of its broker.
FAULT_KINDS = {
    "rabbitmq": [FaultKind(FaultAction.KILL, "broker"), *_SERVER_FAULTS],
    "redis": [FaultKind(FaultAction.KILL, "broker"), *_SERVER_FAULTS],
    "sqs": _SERVER_FAULTS,
    "filesystem": [
        FaultKind(FaultAction.LOCK, "database"),
        *_PROCESS_KILLS,
        *_PROCESS_PAUSES,
    ],
}


@dataclass(frozen=True)
class FleetEnvironment:
    """The broker and the database of one fleet.

    Attributes:
        variables: The environment variables of the fleet's processes.
        database: The SQLAlchemy URL of the database, without a proxy.
        count_messages: Returns the number of messages in each queue, including
            unacknowledged ones.
        servers: The servers that can be killed and paused: `broker` and `database`.
        proxies: The proxies in front of them, by the same names.
    """

    variables: dict[str, str]
    database: str
    count_messages: Callable[[], dict[str, int]]
    servers: dict[str, RestartableProcess] = field(default_factory=dict)
    proxies: dict[str, Proxy] = field(default_factory=dict)


@contextmanager
def open_environment(name: str, folder: Path) -> Iterator[FleetEnvironment]:
    """Run the servers of a fleet as long as the block lasts.

    Args:
        name: One of `FAULT_KINDS`.
        folder: The folder of their files.
    """
    with ExitStack() as stack:
        if name == "filesystem":
            yield _folder_environment(folder / ".workertoolbox")
            return
        broker = stack.enter_context(BROKERS[name](folder))
        cluster = stack.enter_context(postgresql.cluster(postgresql.SURVIVING_KILLS))
        servers = {
            "broker": RestartableProcess(broker.run),
            "database": RestartableProcess(cluster.running),
        }
        for server in servers.values():
            stack.callback(server.close)
            server.start()
        upgrade(result_backend_url(_render(cluster.url)))
        access = stack.enter_context(broker.server.access())
        at = Connection(access.url).info()
        proxies = {
            "broker": stack.enter_context(run_proxy(at["hostname"], at["port"])),
            "database": stack.enter_context(run_proxy(HOST, cluster.url.port or 0)),
        }
        proxied_access = replace(
            access,
            url=proxied_url(access.url, proxies["broker"]),
            transport_options={**access.transport_options, **broker.options},
        )
        proxied_database = cluster.url.set(port=proxies["database"].port)
        yield FleetEnvironment(
            server_broker(
                name, proxied_access, database=_render(proxied_database)
            ).environment,
            _render(cluster.url),
            lambda: broker.count_messages(access),
            servers,
            proxies,
        )


@dataclass(frozen=True)
class FleetBroker:
    """A server that is a broker.

    Attributes:
        server: The server, as clients see it.
        run: Runs its process.
        count_messages: Returns the number of messages in each queue.
        options: Additional transport options.
        alarm: Lets the broker run out of memory for a block; None if it cannot.
    """

    server: BrokerServer
    run: Callable[[], AbstractContextManager[Process]]
    count_messages: Callable[[BrokerAccess], dict[str, int]]
    options: dict[str, object] = field(default_factory=dict)
    alarm: Callable[[], AbstractContextManager[None]] | None = None


@contextmanager
def _rabbitmq(folder: Path) -> Iterator[FleetBroker]:
    with rabbitmq.node(folder) as node:
        server = node.server
        yield FleetBroker(
            server,
            node.running,
            lambda access: server.totals(access.url.rpartition("/")[2]),
            alarm=lambda: node.alarm("memory"),
        )


@contextmanager
def _redis(folder: Path) -> Iterator[FleetBroker]:
    node = redis.node(folder, redis.SURVIVING_KILLS)
    yield FleetBroker(
        node.server,
        node.running,
        _count_in_redis,
        SHORT_VISIBILITY_TIMEOUT,
        node.server.full,
    )


def _count_in_redis(access: BrokerAccess) -> dict[str, int]:
    queues = RedisContents(access)
    with queues.connected() as client:
        counts: dict[str, Any] = {
            queue: client.llen(queues.key(queue)) for queue in QUEUES
        }
        return {**counts, "unacked": client.hlen(queues.key("unacked"))}


@contextmanager
def _sqs(folder: Path) -> Iterator[FleetBroker]:
    node = sqs.node(folder)
    yield FleetBroker(
        node.server, node.running, _count_in_sqs, SHORT_VISIBILITY_TIMEOUT
    )


def _count_in_sqs(access: BrokerAccess) -> dict[str, int]:
    queues = SQSContents(access)
    client = queues.client()
    totals = {}
    for queue, url in queues.urls().items():
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        counts = [int(found["Attributes"][name]) for name in COUNTS]
        totals[queue] = sum(counts)
    return totals


#: Creates the server of a broker, by its name.
BROKERS = {"rabbitmq": _rabbitmq, "redis": _redis, "sqs": _sqs}


def _render(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _folder_environment(folder: Path) -> FleetEnvironment:
    broker = folder_broker(folder)

    def count_messages() -> dict[str, int]:
        # Unacknowledged messages are in subfolders.
        names = [path.name for path in folder.rglob("*.msg")]
        queues = [name.partition(".")[2].removesuffix(".msg") for name in names]
        return {queue: queues.count(queue) for queue in QUEUES}

    database = f"sqlite:///{folder / 'results.sqlite3'}"
    folder.mkdir(parents=True)
    upgrade(result_backend_url(database))
    return FleetEnvironment(broker.environment, database, count_messages)
