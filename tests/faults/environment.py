"""Where a fleet finds its broker and its database, and what can befall them.

Each broker meets what it survives by its own contract:

- RabbitMQ: everything. It confirms a message once that is on disk.
- Redis: everything, as its file is appended to before it confirms.
- SQS: the emulator keeps all in memory, so it is paused and cut off, and not killed.
- File system: no server. The database in a file is locked, not paused. Workers are
  killed as a whole: one of which only the processes of its pool were killed ran nothing
  more. By its source, they share a lock where a broker has no event loop.
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

#: The queues of a fleet, by the names that its configuration has for them.
QUEUES = ("celery", "export", "msg", "platform.fifo")

#: A message of Redis or SQS that was not acknowledged is delivered again after seconds
#: instead of an hour or half of one.
RESTORING: dict[str, object] = {"visibility_timeout": 5}

#: What SQS counts: messages that wait, that are held, and that are not due.
COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)

WORKERS = ("worker-export", "worker-msg")
MONITORS = ("monitor-1", "monitor-2")

_KILLS = [FaultKind(FaultAction.KILL, whom) for whom in (*MONITORS, *WORKERS)]
_PAUSES = [FaultKind(FaultAction.PAUSE, whom) for whom in (MONITORS[0], WORKERS[0])]
_POOLS = [FaultKind(FaultAction.KILL_POOL, whom) for whom in WORKERS]
_DATABASE = [
    FaultKind(what, "database")
    for what in (FaultAction.KILL, FaultAction.PAUSE, FaultAction.CUT)
]
_BROKER = [FaultKind(FaultAction.PAUSE, "broker"), FaultKind(FaultAction.CUT, "broker")]
_SERVED = [*_BROKER, *_KILLS, *_PAUSES, *_POOLS, *_DATABASE]

FAULT_KINDS = {
    "rabbitmq": [FaultKind(FaultAction.KILL, "broker"), *_SERVED],
    "redis": [FaultKind(FaultAction.KILL, "broker"), *_SERVED],
    "sqs": _SERVED,
    "filesystem": [FaultKind(FaultAction.LOCK, "database"), *_KILLS, *_PAUSES],
}


@dataclass(frozen=True)
class FleetEnvironment:
    """A broker and a database of one fleet.

    Attributes:
        environment: What the processes of the fleet are told.
        database: The SQLAlchemy URL that leads to it past any proxy.
        left: Returns how many messages each queue has, with those not acknowledged.
        servers: What can be killed and paused: `broker` and `database`.
        proxies: What can be cut.
    """

    environment: dict[str, str]
    database: str
    left: Callable[[], dict[str, int]]
    servers: dict[str, RestartableProcess] = field(default_factory=dict)
    proxies: dict[str, Proxy] = field(default_factory=dict)


@contextmanager
def open_environment(name: str, folder: Path) -> Iterator[FleetEnvironment]:
    """Run the servers of a site as long as the block lasts.

    Args:
        name: One of `KINDS`.
    """
    with ExitStack() as stack:
        if name == "filesystem":
            yield _in_folder(folder / ".workertoolbox")
            return
        broker = stack.enter_context(_BROKERS[name](folder))
        cluster = stack.enter_context(postgresql.cluster(postgresql.SURVIVING_KILLS))
        servers = {
            "broker": RestartableProcess(broker.run),
            "database": RestartableProcess(cluster.running),
        }
        for member in servers.values():
            stack.callback(member.close)
            member.start()
        upgrade(result_backend_url(_shown(cluster.url)))
        access = stack.enter_context(broker.server.access())
        at = Connection(access.url).info()
        proxies = {
            "broker": stack.enter_context(run_proxy(at["hostname"], at["port"])),
            "database": stack.enter_context(run_proxy(HOST, cluster.url.port or 0)),
        }
        far = replace(
            access,
            url=proxied_url(access.url, proxies["broker"]),
            transport_options={**access.transport_options, **broker.options},
        )
        away = cluster.url.set(port=proxies["database"].port)
        yield FleetEnvironment(
            server_broker(name, far, database=_shown(away)).environment,
            _shown(cluster.url),
            lambda: broker.left(access),
            servers,
            proxies,
        )


@dataclass(frozen=True)
class _Broker:
    """A kind of broker.

    Attributes:
        server: What gives a part of it away.
        run: Runs its process.
        left: Returns how many messages each queue of a part has.
        options: kombu's options beside those that lead there.
    """

    server: BrokerServer
    run: Callable[[], AbstractContextManager[Process]]
    left: Callable[[BrokerAccess], dict[str, int]]
    options: dict[str, object] = field(default_factory=dict)


@contextmanager
def _rabbitmq(folder: Path) -> Iterator[_Broker]:
    with rabbitmq.node(folder) as node:
        server = node.server
        yield _Broker(
            server,
            node.running,
            lambda access: server.totals(access.url.rpartition("/")[2]),
        )


@contextmanager
def _redis(folder: Path) -> Iterator[_Broker]:
    node = redis.node(folder, redis.SURVIVING_KILLS)
    yield _Broker(node.server, node.running, _left_in_redis, RESTORING)


def _left_in_redis(access: BrokerAccess) -> dict[str, int]:
    queues = RedisContents(access)
    with queues.connected() as client:
        left: dict[str, Any] = {
            queue: client.llen(queues.key(queue)) for queue in QUEUES
        }
        return {**left, "unacked": client.hlen(queues.key("unacked"))}


@contextmanager
def _sqs(folder: Path) -> Iterator[_Broker]:
    node = sqs.node(folder)
    yield _Broker(node.server, node.running, _left_in_sqs, RESTORING)


def _left_in_sqs(access: BrokerAccess) -> dict[str, int]:
    queues = SQSContents(access)
    client = queues.client()
    left = {}
    for queue, url in queues.urls().items():
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        counts = [int(found["Attributes"][name]) for name in COUNTS]
        left[queue] = sum(counts)
    return left


_BROKERS = {"rabbitmq": _rabbitmq, "redis": _redis, "sqs": _sqs}


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _in_folder(folder: Path) -> FleetEnvironment:
    broker = folder_broker(folder)

    def left() -> dict[str, int]:
        # Those that a reader holds lie in folders of their own.
        names = [path.name for path in folder.rglob("*.msg")]
        queues = [name.partition(".")[2].removesuffix(".msg") for name in names]
        return {queue: queues.count(queue) for queue in QUEUES}

    database = f"sqlite:///{folder / 'results.sqlite3'}"
    folder.mkdir(parents=True)
    upgrade(result_backend_url(database))
    return FleetEnvironment(broker.environment, database, left)
