"""A Redis server, on which each test gets a prefix for its keys."""

from __future__ import annotations

import os
import ssl
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from urllib.parse import urlencode

import redis

from servers.access import BrokerAccess
from servers.availability import skip_or_fail
from servers.certificates import issue_certificate
from servers.executables import find_redis
from servers.ports import HOST, free_ports, is_listening
from support.processes import Process, running

#: Options of a server that writes nothing to the disk, which is faster.
IN_MEMORY = ("--save", "", "--appendonly", "no")

#: Options of a server that writes to the disk before it confirms.
SURVIVING_KILLS = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")

#: The name of the master in the sentinel.
MASTER_NAME = "workertoolbox"


@dataclass(frozen=True)
class Redis:
    """A running server.

    Attributes:
        url: Its URL.
        broker: The URL and options for kombu; None if `url` is enough.
    """

    url: str
    broker: BrokerAccess | None = None

    @contextmanager
    def access(self) -> Iterator[BrokerAccess]:
        """Yield a prefix for keys, which are deleted after the block."""
        prefix = f"{uuid.uuid4().hex}:"
        broker = self.broker or BrokerAccess(self.url)
        options = {**broker.transport_options, "global_keyprefix": prefix}
        try:
            yield replace(broker, transport_options=options)
        finally:
            with redis.Redis.from_url(self.url) as client:
                for key in client.scan_iter(f"{prefix}*", count=1000):
                    client.delete(key)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Refuse every write as long as the block lasts, as if memory had run out."""
        with redis.Redis.from_url(self.url) as client:
            client.config_set("maxmemory", 1)
            try:
                yield
            finally:
                client.config_set("maxmemory", 0)


@dataclass(frozen=True)
class Node:
    """The port of a server that can be started several times.

    Attributes:
        server: The server, as clients see it.
    """

    server: Redis
    _folder: Path
    _port: int
    _options: tuple[str, ...]

    def running(self) -> AbstractContextManager[Process]:
        """Run the server as long as the block lasts."""
        options = ("--port", str(self._port), *self._options)
        return _running(self._folder, self._port, *options)


def node(folder: Path, options: tuple[str, ...] = IN_MEMORY) -> Node:
    """Create a server that the test starts and stops."""
    [port] = free_ports(1)
    return Node(Redis(f"redis://{HOST}:{port}/0"), folder, port, options)


@contextmanager
def serve(folder: Path) -> Iterator[Redis]:
    """Run a server, or use the one of `WORKERTOOLBOX_TEST_REDIS_URL`."""
    if url := os.environ.get("WORKERTOOLBOX_TEST_REDIS_URL"):
        yield Redis(url)
        return
    own = node(folder)
    with own.running():
        yield own.server


@contextmanager
def serve_sentinel(folder: Path) -> Iterator[Redis]:
    """Run a server and a sentinel that monitors it."""
    master, port = free_ports(2)
    # The sentinel writes its state to its configuration file.
    configuration = folder / "sentinel.conf"
    monitored = f"sentinel monitor {MASTER_NAME} {HOST} {master} 1\n"
    configuration.write_text(monitored, "utf-8")
    with (
        _running(folder, master, "--port", str(master), *IN_MEMORY),
        _running(folder, port, configuration, "--sentinel", "--port", str(port)),
    ):
        broker = BrokerAccess(
            f"sentinel://{HOST}:{port}/0", {"master_name": MASTER_NAME}
        )
        yield Redis(f"redis://{HOST}:{master}/0", broker)


@contextmanager
def serve_tls(folder: Path) -> Iterator[Redis]:
    """Run a server that only accepts TLS connections."""
    [port] = free_ports(1)
    certificate = issue_certificate(folder)
    arguments: dict[str, str | Path] = {
        "--port": "0",
        "--tls-port": str(port),
        "--tls-cert-file": certificate.server,
        "--tls-key-file": certificate.key,
        "--tls-ca-cert-file": certificate.authority,
        "--tls-auth-clients": "no",
    }
    authority = str(certificate.authority)
    url = f"rediss://{HOST}:{port}/0"
    query = urlencode({"ssl_ca_certs": authority, "ssl_cert_reqs": "required"})
    tls = {"ssl_ca_certs": authority, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    with _running(folder, port, *chain(*arguments.items()), *IN_MEMORY):
        yield Redis(f"{url}?{query}", BrokerAccess(url, tls=tls))


@contextmanager
def _running(folder: Path, port: int, *arguments: str | Path) -> Iterator[Process]:
    program = find_redis()
    if program is None:
        skip_or_fail("Redis", "redis-server is not installed")
    with running(
        [program, *arguments, "--bind", HOST],
        folder=folder,
        ready=lambda: is_listening(port),
        print_output=False,
    ) as process:
        yield process
