"""A task and its copy find their queues wherever the broker's URL comes from."""

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

#: Prints the id of the task that it sends, and the package of the transport it went by.
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

#: What a program is given, where its broker's URL comes from.
SOURCES: dict[str, dict[str, str]] = {
    "keyword": {"keyword": ", broker_url=url"},
    "Celery": {"app": ", broker=url"},
    "conf": {"later": "app.conf.broker_url = url"},
    "environment": {},
}

PACKAGES = {"Config": "conf", "Routing": "routing"}

#: The fixtures with a broker whose certificate is verified.
TLS = ["amqps", "rediss", "rediss_by_url"]

BROKERS = ["rabbitmq", "redis", "sentinel", "sqs", *TLS]


@dataclass(frozen=True)
class Place:
    """A part of a broker as the toolbox and as kombu alone are told of it.

    Attributes:
        url: The broker's URL.
        settings: What the toolbox is told beside it.
        options: kombu's transport options that lead to the same queues.
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


def place_of(access: BrokerAccess, *, prefix: str) -> Place:
    """Return a place whose queues have a prefix on SQS."""
    options = dict(access.transport_options)
    given = {name: options[name] for name in options if name != "queue_name_prefix"}
    settings = {"broker_transport_options": given, "QUEUE_PREFIX": prefix}
    if "queue_name_prefix" in options:
        # Nothing is waited for: what was sent is there.
        options |= {"queue_name_prefix": f"{prefix}-", "wait_time_seconds": 0}
    if access.tls:
        settings["broker_use_ssl"] = access.tls
    return Place(access.url, settings, options)


@pytest.fixture
def rediss_by_url(rediss: Redis) -> Redis:
    """A Redis server with the TLS options in its URL."""
    return replace(rediss, broker=None)


@pytest.fixture(params=BROKERS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    server: BrokerServer = request.getfixturevalue(request.param)
    with server.access() as access:
        yield place_of(access, prefix=uuid.uuid4().hex[:12])


def trusting(place: Place, authority: Path, **options: int) -> Place:
    """Return a place whose certificate is to be of that authority.

    Args:
        options: TLS options to replace too, without the `ssl_` of Redis.
    """
    others = {"ca_certs": str(authority), **options}
    tls = {
        name: others.get(name.removeprefix("ssl_"), value)
        for name, value in place.settings.get("broker_use_ssl", {}).items()
    }
    url = re.sub("(?<=ca_certs=)[^&]*", quote_plus(str(authority)), place.url)
    return replace(place, url=url, settings={**place.settings, "broker_use_ssl": tls})


def publish(place: Place, kind: str, source: str, *, url: object | None = None) -> str:
    """Send one task from a process of its own, and return its id.

    Args:
        url: What is given as the URL, unless it is the place's.
    """
    parts = {"keyword": "", "app": "", "later": "", **SOURCES[source]}
    program = PUBLISH.format(kind=kind, package=PACKAGES[kind], **parts)
    environment = {"CELERY_BROKER_URL": place.url} if source == "environment" else {}
    id, transports = run_script(
        program, url or place.url, place.settings, environment=environment
    )

    assert transports == "cadasta.workertoolbox.routing.transports"
    return id


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", PACKAGES)
def test_a_task_and_its_copy_reach_their_queues(
    place: Place, kind: str, source: str
) -> None:
    id = publish(place, kind, source)

    assert place.take("export") == [id]
    assert place.take("platform.fifo") == [id]


def test_the_default_queue_prefix_on_sqs_is_dev(sqs: BrokerServer) -> None:
    with sqs.access() as access:
        place = place_of(access, prefix="dev")
        del place.settings["QUEUE_PREFIX"]
        for queue in ("export", "platform.fifo"):
            place.take(queue)  # Others may have used the same.
        ids = [publish(place, kind, "keyword") for kind in PACKAGES]

    assert place.take("export") == ids
    assert sorted(place.take("platform.fifo")) == sorted(ids)


@pytest.mark.parametrize("join", [";".join, list], ids=["string", "list"])
@pytest.mark.parametrize("place", ["rabbitmq", "redis", *TLS], indirect=True)
def test_the_second_broker_is_used_while_the_first_is_down(
    place: Place, join: Callable[[list[str]], object]
) -> None:
    with run_proxy(HOST, 0) as down:
        down.refuse_connections()
        urls = join([proxied_url(place.url, down), place.url])
        ids = [publish(place, kind, "keyword", url=urls) for kind in PACKAGES]

    assert place.take("export") == ids
    assert place.take("platform.fifo") == ids


@pytest.mark.parametrize("kind", PACKAGES)
@pytest.mark.parametrize("place", TLS, indirect=True)
def test_a_certificate_of_an_unknown_authority_is_refused(
    place: Place, kind: str, tmp_path: Path
) -> None:
    deceived = trusting(place, issue_certificate(tmp_path).authority)

    with pytest.raises(AssertionError, match="CERTIFICATE_VERIFY_FAILED"):
        publish(deceived, kind, "keyword")


@pytest.mark.parametrize("kind", PACKAGES)
@pytest.mark.parametrize("place", ["amqps", "rediss"], indirect=True)
def test_any_certificate_is_accepted_if_none_is_required(
    place: Place, kind: str, tmp_path: Path
) -> None:
    authority = issue_certificate(tmp_path).authority
    careless = trusting(place, authority, cert_reqs=ssl.CERT_NONE)
    id = publish(careless, kind, "keyword")

    assert place.take("export") == [id]
