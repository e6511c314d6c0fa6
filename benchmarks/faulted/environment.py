"""The servers of fleets: a broker, two databases and a Redis for results.

Each database belongs to one fleet, so that what the server writes can be told apart.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kombu import Connection as BrokerConnection
from sqlalchemy import Engine, create_engine

from cadasta.workertoolbox.results import upgrade
from faulted.fleets import DATABASE, OURS, REDIS, Fleet
from faults.environment import BROKERS, FleetBroker
from faults.restartable import RestartableProcess
from servers import postgresql, redis
from servers.access import BrokerAccess
from servers.ports import HOST
from servers.postgresql import Cluster
from support.brokers import server_broker
from support.proxy import Proxy, proxied_url, run_proxy
from upgrades.last_release import Release

#: Seconds after which Redis and SQS deliver an unacknowledged message again, instead of
#: an hour and half an hour; longer than a fault.
VISIBILITY_S = 10

#: The name of the benchmark's own sessions, which no fault ends.
APPLICATION = "benchmark"

#: PostgreSQL waits for the disk, as it does by default.
SETTINGS = {**postgresql.DURABLE, "max_connections": "60"}

#: Size of the file system of a database whose disk will be full.
DISK = "300m"

#: A program that creates the schema of the release that runs it.
UPGRADE = """
import sys
from cadasta.workertoolbox.results import upgrade
upgrade(sys.argv[1])
"""


@dataclass(frozen=True)
class Database:
    """A PostgreSQL server, with a proxy in front of it for the fleet.

    Attributes:
        folder: The folder of its files.
    """

    cluster: Cluster
    server: RestartableProcess
    proxy: Proxy
    folder: Path

    @cached_property
    def engine(self) -> Engine:
        """The benchmark's own access, which does not go through the proxy."""
        options: dict[str, Any] = {"application_name": APPLICATION}
        return create_engine(
            self.cluster.url,
            connect_args=options,
            isolation_level="AUTOCOMMIT",
            pool_pre_ping=True,
        )

    @property
    def fleets_url(self) -> str:
        """The URL for the fleet."""
        url = self.cluster.url.set(port=self.proxy.port)
        return url.render_as_string(hide_password=False)


@dataclass(frozen=True)
class Environment:
    """The servers of the fleets of one trial.

    Attributes:
        broker: The broker's server, as the tests know it.
        process: The process of the broker.
        proxy: The proxy in front of the broker.
        databases: By fleet.
        fleets: The fleets, which do not run yet.
    """

    broker: FleetBroker
    process: RestartableProcess
    proxy: Proxy
    databases: dict[str, Database]
    fleets: dict[str, Fleet]


@contextmanager
def open_environment(
    broker: str,
    folder: Path,
    *,
    fleets: tuple[str, ...],
    small_disk: bool,
    release: Release | None,
) -> Iterator[Environment]:
    """Run the servers as long as the block lasts.

    Args:
        broker: The name of the broker.
        folder: The folder for all files.
        fleets: The fleets that take part.
        small_disk: Whether the databases have a small file system of their own.
        release: An earlier release whose schema the database of the toolbox gets.
    """
    with ExitStack() as stack:
        parent = stack.enter_context(_small_disk()) if small_disk else None
        made = stack.enter_context(BROKERS[broker](folder))
        process = RestartableProcess(made.run, may_end_with=("",))
        stack.callback(process.close)
        process.start()
        databases = {
            name: stack.enter_context(_database(parent))
            for name in (OURS, DATABASE)
            if name in fleets
        }
        if OURS in databases:
            url = databases[OURS].fleets_url
            release.run(UPGRADE, url) if release else upgrade(url)
        proxy, opened = None, {}
        for name in fleets:
            access = stack.enter_context(made.server.access())
            if proxy is None:
                at = BrokerConnection(access.url).info()
                proxy = stack.enter_context(run_proxy(at["hostname"], at["port"]))
            options = {**access.transport_options}
            if "visibility_timeout" in made.options:
                options["visibility_timeout"] = VISIBILITY_S
            access = replace(
                access,
                url=proxied_url(access.url, proxy),
                transport_options=options,
            )
            folder.joinpath(name).mkdir()
            environment = _settings(stack, broker, name, access, folder, databases)
            opened[name] = Fleet(name, folder / name, environment, databases.get(name))
        assert proxy is not None
        yield Environment(made, process, proxy, databases, opened)


def _settings(
    stack: ExitStack,
    broker: str,
    fleet: str,
    access: BrokerAccess,
    folder: Path,
    databases: dict[str, Database],
) -> dict[str, Any]:
    if fleet == OURS:
        url = databases[OURS].fleets_url
        return server_broker(broker, access, database=url).environment
    settings = {
        "broker_url": access.url,
        "broker_transport_options": access.transport_options,
    }
    if fleet == DATABASE:
        return {**settings, "result_backend": f"db+{databases[DATABASE].fleets_url}"}
    assert fleet == REDIS
    store = redis.node(folder, redis.SURVIVING_KILLS)
    stack.enter_context(store.running())
    return {**settings, "result_backend": store.server.url}


@contextmanager
def _database(parent: Path | None) -> Iterator[Database]:
    with (
        postgresql.cluster(SETTINGS, parent=parent) as cluster,
        run_proxy(HOST, cluster.url.port or 0) as proxy,
    ):
        server = RestartableProcess(cluster.running, may_end_with=("",))
        try:
            server.start()
            database = Database(cluster, server, proxy, cluster.folder)
            yield database
            database.engine.dispose()
        finally:
            server.close()


@contextmanager
def _small_disk() -> Iterator[Path]:
    """Mount a small file system in memory; needs root."""
    with tempfile.TemporaryDirectory(prefix="workertoolbox-disk-") as folder:
        options = f"size={DISK},mode=711"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
        subprocess.run(mount, check=True)
        # The account of the server has to reach its own folder.
        os.chmod(folder, 0o711)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
