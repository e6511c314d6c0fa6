"""A RabbitMQ broker, in which each test gets a virtual host."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kombu import Connection, Exchange, Queue

from servers.access import BrokerAccess
from servers.availability import skip_or_fail
from servers.certificates import Certificate, issue_certificate
from servers.executables import find_rabbitmq
from servers.ports import HOST, free_ports, is_listening
from support.processes import Process, running

#: What the toolbox declares, deleted around each use of a broker given by its URL.
QUEUES = ("celery", "export", "msg", "platform.fifo")
EXCHANGE = "task_exchange"

#: It takes 8 s on two cores, most of them loading Erlang modules.
START_TIMEOUT_S = 90.0

CONFIGURATION = """\
management.tcp.ip = {host}
management.tcp.port = {management}
management_agent.disable_metrics_collector = true
log.console = true
log.file = false
disk_free_limit.absolute = 1MB
"""

PLAIN = """\
listeners.tcp.1 = {host}:{amqp}
"""

TLS = """\
listeners.tcp = none
listeners.ssl.1 = {host}:{amqp}
ssl_options.cacertfile = {certificate.authority}
ssl_options.certfile = {certificate.server}
ssl_options.keyfile = {certificate.key}
"""


@dataclass(frozen=True)
class RabbitMQ:
    """A broker of our own.

    Attributes:
        tls: kombu's TLS options, none where it speaks without.
    """

    amqp_port: int
    management_port: int
    tls: dict[str, object] = field(default_factory=dict)

    @contextmanager
    def vhost(self) -> Iterator[str]:
        """Yield the URL of a virtual host that lasts as long as the block."""
        name = uuid.uuid4().hex
        self._manage("PUT", f"vhosts/{name}")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._manage("PUT", f"permissions/{name}/guest", everything)
        try:
            scheme = "amqps" if self.tls else "amqp"
            yield f"{scheme}://guest:guest@{HOST}:{self.amqp_port}/{name}"
        finally:
            self._manage("DELETE", f"vhosts/{name}")

    @contextmanager
    def access(self) -> Iterator[BrokerAccess]:
        """Give a virtual host away."""
        with self.vhost() as url:
            yield BrokerAccess(url, tls=self.tls)

    def totals(self, vhost: str) -> dict[str, int]:
        """Return how many messages are in each queue, with those not acknowledged."""
        totals = "disable_stats=true&enable_queue_totals=true"
        found = self._manage("GET", f"queues/{vhost}?{totals}")
        return {queue["name"]: queue["messages"] for queue in found}

    def is_ready(self) -> bool:
        """Tell whether clients and `vhost` are served."""
        return is_listening(self.amqp_port) and is_listening(self.management_port)

    # The management plugin creates a virtual host in 20 ms, `rabbitmqctl` in 500.
    def _manage(self, method: str, path: str, body: object = None) -> Any:
        credentials = base64.b64encode(b"guest:guest").decode()
        headers = {
            "Authorization": f"Basic {credentials}",
            "Content-Type": "application/json",
        }
        connection = http.client.HTTPConnection(HOST, self.management_port, 30)
        try:
            connection.request(method, f"/api/{path}", json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise OSError(f"{method} {path}: {response.status} {answer!r}")
        return json.loads(answer) if answer else None


@dataclass(frozen=True)
class ExternalRabbitMQ:
    """A broker somebody else runs, used as it is, by one test at a time."""

    url: str

    @contextmanager
    def access(self) -> Iterator[BrokerAccess]:
        """Give it away; what the toolbox declares is deleted around the block."""
        self._delete_declared()
        try:
            yield BrokerAccess(self.url)
        finally:
            self._delete_declared()

    def _delete_declared(self) -> None:
        with Connection(self.url) as connection, connection.channel() as channel:
            for queue in QUEUES:
                Queue(queue, channel=channel).delete()
            Exchange(EXCHANGE, channel=channel).delete()


@contextmanager
def serve(folder: Path) -> Iterator[RabbitMQ | ExternalRabbitMQ]:
    """Run a broker, or use the one of `WORKERTOOLBOX_TEST_AMQP_URL`."""
    if url := os.environ.get("WORKERTOOLBOX_TEST_AMQP_URL"):
        yield ExternalRabbitMQ(url)
        return
    with _serve(folder) as server:
        yield server


@contextmanager
def serve_tls(folder: Path) -> Iterator[RabbitMQ]:
    """Run a broker that speaks TLS only."""
    with _serve(folder, issue_certificate(folder)) as server:
        yield server


@dataclass(frozen=True)
class Node:
    """The files and the ports of a broker, which outlive its process.

    Attributes:
        server: What clients see of it.
    """

    server: RabbitMQ
    _program: Path
    _folder: Path
    _environment: dict[str, str]

    @contextmanager
    def running(self) -> Iterator[Process]:
        """Run the broker as long as the block lasts, or until it is killed."""
        with running(
            [self._program, "-noinput"],
            folder=self._folder,
            environment=self._environment,
            ready=self.server.is_ready,
            # Nothing is to be saved, and an orderly stop takes 6 s.
            stop_signal=signal.SIGKILL,
            timeout_s=START_TIMEOUT_S,
            print_output=False,
        ) as process:
            yield process


@contextmanager
def node(folder: Path, certificate: Certificate | None = None) -> Iterator[Node]:
    """Make a broker that the test starts and stops itself."""
    program, epmd = find_rabbitmq(), shutil.which("epmd")
    if program is None or epmd is None:
        skip_or_fail("RabbitMQ", "rabbitmq-server or epmd is not installed")
    names, amqp, management, distribution = free_ports(4)
    server = RabbitMQ(amqp, management, _tls_options(certificate))
    # Erlang starts this registry of node names where there is none, and leaves it
    # behind; here it is ours and found by its port.
    registry = {"ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": HOST}
    environment = registry | _environment(folder, distribution)
    configuration = (CONFIGURATION + (TLS if certificate else PLAIN)).format(
        host=HOST, amqp=amqp, management=management, certificate=certificate
    )
    folder.joinpath("rabbitmq.conf").write_text(configuration, "utf-8")
    folder.joinpath("plugins").write_text("[rabbitmq_management].\n", "utf-8")
    with running(
        [epmd],
        folder=folder,
        environment=registry,
        ready=lambda: is_listening(names),
        print_output=False,
    ):
        yield Node(server, program, folder, environment)


@contextmanager
def _serve(folder: Path, certificate: Certificate | None = None) -> Iterator[RabbitMQ]:
    with node(folder, certificate) as one, one.running():
        yield one.server


def _tls_options(certificate: Certificate | None) -> dict[str, object]:
    if certificate is None:
        return {}
    return {
        "ca_certs": str(certificate.authority),
        "cert_reqs": ssl.CERT_REQUIRED,
    }


def _environment(folder: Path, distribution_port: int) -> dict[str, str]:
    return {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": "workertoolbox@localhost",
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        # Files of the machine's own broker, if these did not name others.
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        # The script becomes the server, instead of waiting for it as its parent.
        "RABBITMQ_ALLOW_INPUT": "true",
    }
