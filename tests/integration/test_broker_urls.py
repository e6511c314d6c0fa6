"""A task and its copy reach their queues, wherever the broker's URL is configured."""

from __future__ import annotations

import re
import ssl
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from kombu import Connection

from servers.access import BrokerAccess, BrokerServer
from servers.certificates import issue_certificate
from servers.ports import HOST
from servers.redis import Redis
from support.proxy import proxied_url, run_proxy
from support.publisher_scripts import run_script

#: Sends a task; prints its id and the package of the transport.
PUBLISH = """\
import json, sys
from celery import Celery
from cadasta.workertoolbox.{package} import {kind}

url, settings = map(json.loads, sys.argv[1:])
app = Celery("publisher"{app})
app.config_from_object({kind}(["export"]{keyword}, **settings))
{later}
print(app.send_task("export.anything").id)
with app.connection_for_write() as connection:
    print(type(connection.transport).__module__.rpartition(".")[0])
"""

#: The parts of the program that configure the broker's URL, for each place to set it.
SOURCES: dict[str, dict[str, str]] = {
    "keyword": {"keyword": ", broker_url=url"},
    "Celery": {"app": ", broker=url"},
    "conf": {"later": "app.conf.broker_url = url"},
    "environment": {},
}

#: The package of each class that configures an app.
PACKAGES = {"Config": "conf", "Routing": "routing"}

#: The fixtures of brokers with TLS.
TLS = ["amqps", "rediss", "rediss_by_url"]

BROKERS = ["rabbitmq", "redis", "sentinel", "sqs", *TLS]


@dataclass(frozen=True)
class BrokerSettings:
    """Settings to reach the same queues of a broker with the toolbox and with kombu.

    Attributes:
        url: The broker's URL.
        settings: Further settings of the toolbox.
        options: Transport options of kombu.
    """

    url: str
    settings: dict[str, Any]
    options: dict[str, Any]

    def take(self, queue: str) -> list[str]:
        """Take the messages out of a queue, and return the ids of their tasks."""
        tls = self.settings.get("broker_use_ssl", False)
        connection = Connection(self.url, ssl=tls, transport_options=self.options)
        with connection:
            channel: Any = connection.default_channel
            ids = []
            while (message := channel.basic_get(queue)) is not None:
                channel.basic_ack(message.delivery_tag)
                ids.append(message.headers["id"])
            return ids


def settings_for(access: BrokerAccess, *, prefix: str) -> BrokerSettings:
    """Return settings with a queue prefix, which only SQS uses."""
    options = dict(access.transport_options)
    own_options = {
        name: options[name] for name in options if name != "queue_name_prefix"
    }
    settings = {"broker_transport_options": own_options, "QUEUE_PREFIX": prefix}
    if "queue_name_prefix" in options:
        # The messages have been sent, so polls need not wait.
        options |= {"queue_name_prefix": f"{prefix}-", "wait_time_seconds": 0}
    if access.tls:
        settings["broker_use_ssl"] = access.tls
    return BrokerSettings(access.url, settings, options)


@pytest.fixture
def rediss_by_url(rediss: Redis) -> Redis:
    """A Redis server with the TLS options in its URL."""
    return replace(rediss, broker=None)


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerSettings]:
    """Each broker in turn, with the settings to reach it."""
    server: BrokerServer = request.getfixturevalue(request.param)
    with server.access() as access:
        yield settings_for(access, prefix=uuid.uuid4().hex[:12])


def with_authority(
    broker: BrokerSettings, authority: Path, **options: int
) -> BrokerSettings:
    """Return settings that trust only certificates of this authority.

    Args:
        options: Further TLS options to replace, without the prefix `ssl_` of Redis.
    """
    others = {"ca_certs": str(authority), **options}
    tls = {
        name: others.get(name.removeprefix("ssl_"), value)
        for name, value in broker.settings.get("broker_use_ssl", {}).items()
    }
    url = re.sub("(?<=ca_certs=)[^&]*", quote_plus(str(authority)), broker.url)
    return replace(broker, url=url, settings={**broker.settings, "broker_use_ssl": tls})


def publish(
    broker: BrokerSettings, kind: str, source: str, *, url: object | None = None
) -> str:
    """Send one task from a new process, and return its id.

    Args:
        kind: `Config` or `Routing`.
        source: One of `SOURCES`.
        url: The URL or URLs to use instead of the URL of `broker`.
    """
    parts = {"keyword": "", "app": "", "later": "", **SOURCES[source]}
    program = PUBLISH.format(kind=kind, package=PACKAGES[kind], **parts)
    environment = {"CELERY_BROKER_URL": broker.url} if source == "environment" else {}
    id, transports = run_script(
        program, url or broker.url, broker.settings, environment=environment
    )

    assert transports == "cadasta.workertoolbox.routing.transports"
    return id


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", PACKAGES)
def test_a_task_and_its_copy_reach_their_queues(
    broker: BrokerSettings, kind: str, source: str
) -> None:
    id = publish(broker, kind, source)

    assert broker.take("export") == [id]
    assert broker.take("platform.fifo") == [id]


def test_the_default_queue_prefix_on_sqs_is_dev(sqs: BrokerServer) -> None:
    with sqs.access() as access:
        broker = settings_for(access, prefix="dev")
        del broker.settings["QUEUE_PREFIX"]
        for queue in ("export", "platform.fifo"):
            broker.take(queue)  # Another run may have used the same prefix.
        ids = [publish(broker, kind, "keyword") for kind in PACKAGES]

    assert broker.take("export") == ids
    assert sorted(broker.take("platform.fifo")) == sorted(ids)


@pytest.mark.parametrize("join", [";".join, list], ids=["string", "list"])
@pytest.mark.parametrize("broker", ["rabbitmq", "redis", *TLS], indirect=True)
def test_the_second_broker_is_used_while_the_first_is_down(
    broker: BrokerSettings, join: Callable[[list[str]], object]
) -> None:
    with run_proxy(HOST, 0) as down:
        down.refuse_connections()
        urls = join([proxied_url(broker.url, down), broker.url])
        ids = [publish(broker, kind, "keyword", url=urls) for kind in PACKAGES]

    assert broker.take("export") == ids
    assert broker.take("platform.fifo") == ids


@pytest.mark.parametrize("kind", PACKAGES)
@pytest.mark.parametrize("broker", TLS, indirect=True)
def test_a_certificate_of_an_unknown_authority_is_refused(
    broker: BrokerSettings, kind: str, tmp_path: Path
) -> None:
    other_authority = with_authority(broker, issue_certificate(tmp_path).authority)

    with pytest.raises(AssertionError, match="CERTIFICATE_VERIFY_FAILED"):
        publish(other_authority, kind, "keyword")


@pytest.mark.parametrize("kind", PACKAGES)
@pytest.mark.parametrize("broker", ["amqps", "rediss"], indirect=True)
def test_any_certificate_is_accepted_if_none_is_required(
    broker: BrokerSettings, kind: str, tmp_path: Path
) -> None:
    authority = issue_certificate(tmp_path).authority
    unverified = with_authority(broker, authority, cert_reqs=ssl.CERT_NONE)
    id = publish(unverified, kind, "keyword")

    assert broker.take("export") == [id]
