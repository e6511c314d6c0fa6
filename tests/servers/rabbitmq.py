"""A RabbitMQ broker, on which each test gets a virtual host."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
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

#: The queues and the exchange that the toolbox declares. They are deleted before and
#: after each use of an external broker.
QUEUES = ("celery", "export", "msg", "platform.fifo")
EXCHANGE = "task_exchange"

#: Commands that raise an alarm, and that clear it, by the resource that is short.
ALARMS = {
    "memory": (
        ("set_vm_memory_high_watermark", "0.000001"),
        ("set_vm_memory_high_watermark", "0.4"),
    ),
    "disk": (
        ("set_disk_free_limit", "1000000GB"),
        ("set_disk_free_limit", "1MB"),
    ),
}

#: Seconds to start, which takes 8 s on two cores, mostly to load Erlang modules.
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
    """A broker that the tests run.

    Attributes:
        amqp_port: The port for clients.
        management_port: The port of the HTTP API.
        tls: kombu's TLS options; empty without TLS.
    """

    amqp_port: int
    management_port: int
    tls: dict[str, object] = field(default_factory=dict)

    @contextmanager
    def vhost(self, *, default_queue_type: str | None = None) -> Iterator[str]:
        """Yield the URL of a virtual host that lasts as long as the block.

        Args:
            default_queue_type: The type of queues that are declared without one.
        """
        name = uuid.uuid4().hex
        # RabbitMQ 3.10 has no underscores in the name.
        types = dict.fromkeys(
            ("default_queue_type", "defaultqueuetype"), default_queue_type
        )
        self._manage("PUT", f"vhosts/{name}", types if default_queue_type else None)
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._manage("PUT", f"permissions/{name}/guest", everything)
        try:
            scheme = "amqps" if self.tls else "amqp"
            yield f"{scheme}://guest:guest@{HOST}:{self.amqp_port}/{name}"
        finally:
            self._manage("DELETE", f"vhosts/{name}")

    @contextmanager
    def user(self, url: str, **permissions: str) -> Iterator[str]:
        """Yield the URL of a virtual host for a user with some permissions.

        Args:
            url: The URL of the virtual host.
            permissions: Patterns of names for `configure`, `write` and `read`.
        """
        name = uuid.uuid4().hex
        vhost = url.rpartition("/")[2]
        self._manage("PUT", f"users/{name}", {"password": "secret", "tags": ""})
        nothing = {"configure": "", "write": "", "read": ""}
        self._manage("PUT", f"permissions/{vhost}/{name}", nothing | permissions)
        try:
            yield url.replace("guest:guest", f"{name}:secret")
        finally:
            self._manage("DELETE", f"users/{name}")

    def queue_arguments(self, url: str) -> dict[str, dict[str, Any]]:
        """Return the arguments of each queue of a virtual host."""
        found = self._manage(
            "GET",
            f"queues/{url.rpartition('/')[2]}"
            "?disable_stats=true&enable_queue_totals=true",
        )
        return {queue["name"]: queue["arguments"] for queue in found}

    @contextmanager
    def access(self) -> Iterator[BrokerAccess]:
        """Yield a virtual host as long as the block lasts."""
        with self.vhost() as url:
            yield BrokerAccess(url, tls=self.tls)

    def totals(self, vhost: str) -> dict[str, int]:
        """Return the number of messages in each queue, unacknowledged ones included."""
        totals = "disable_stats=true&enable_queue_totals=true"
        found = self._manage("GET", f"queues/{vhost}?{totals}")
        return {queue["name"]: queue["messages"] for queue in found}

    def is_ready(self) -> bool:
        """Return whether the broker accepts clients and requests to the HTTP API."""
        return is_listening(self.amqp_port) and is_listening(self.management_port)

    # The HTTP API creates a virtual host in 20 ms, `rabbitmqctl` in 500 ms.
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
    """A running broker with a given URL, which one test at a time may use."""

    url: str

    @contextmanager
    def access(self) -> Iterator[BrokerAccess]:
        """Yield the broker; delete the toolbox's queues before and after the block."""
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
    """Run a broker that only accepts TLS connections."""
    with _serve(folder, issue_certificate(folder)) as server:
        yield server


@dataclass(frozen=True)
class Node:
    """The files and the ports of a broker that can be started several times.

    Attributes:
        server: The broker, as clients see it.
    """

    server: RabbitMQ
    _program: Path
    _folder: Path
    _environment: dict[str, str]

    @contextmanager
    def running(self) -> Iterator[Process]:
        """Run the broker until the end of the block, or until it is killed."""
        with running(
            [self._program, "-noinput"],
            folder=self._folder,
            environment=self._environment,
            ready=self.server.is_ready,
            # There is nothing to save, and an orderly shutdown takes 6 s.
            stop_signal=signal.SIGKILL,
            timeout_s=START_TIMEOUT_S,
            print_output=False,
        ) as process:
            yield process

    @contextmanager
    def alarm(self, kind: str) -> Iterator[None]:
        """Raise an alarm, during which the broker blocks publishers, for a block.

        Args:
            kind: One of `ALARMS`.
        """
        raised, cleared = ALARMS[kind]
        self._control(*raised)
        try:
            yield
        finally:
            self._control(*cleared)

    @contextmanager
    def consumer_timeout(self, timeout_s: float) -> Iterator[None]:
        """Let messages be held that long on connections that begin in a block."""
        self._set(consumer_timeout=int(timeout_s * 1000), channel_tick_interval=100)
        try:
            yield
        finally:
            self._set(consumer_timeout=1_800_000, channel_tick_interval=60_000)

    def stop_queues(self, url: str) -> None:
        """Stop the queues of a virtual host, as if their node was down."""
        vhost = url.rpartition("/")[2]
        self._control("eval", f'rabbit_amqqueue_sup_sup:stop_for_vhost(<<"{vhost}">>).')

    def _set(self, **values: int) -> None:
        words = [f"application:set_env(rabbit, {n}, {v})" for n, v in values.items()]
        self._control("eval", f"{', '.join(words)}.")

    def _control(self, *arguments: str) -> None:
        program = self._program.with_name("rabbitmqctl")
        name = self._environment["RABBITMQ_NODENAME"]
        subprocess.run(
            [program, "-q", "-n", name, *arguments],
            env={**os.environ, **self._environment},
            check=True,
            timeout=60,
        )


@contextmanager
def node(folder: Path, certificate: Certificate | None = None) -> Iterator[Node]:
    """Create a broker that the test starts and stops."""
    program, epmd = find_rabbitmq(), shutil.which("epmd")
    if program is None or epmd is None:
        skip_or_fail("RabbitMQ", "rabbitmq-server or epmd is not installed")
    names, amqp, management, distribution = free_ports(4)
    server = RabbitMQ(amqp, management, _tls_options(certificate))
    # Erlang would start this registry of node names itself, and leave it running.
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
    with node(folder, certificate) as broker, broker.running():
        yield broker.server


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
        # By default these are files of an installed broker.
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        # Makes the script `exec` the server instead of waiting for it.
        "RABBITMQ_ALLOW_INPUT": "true",
    }
