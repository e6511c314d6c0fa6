"""A task and its copy reach their queues, wherever the broker's URL is configured."""

from __future__ import annotations

import json
import re
import ssl
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote_plus

import pytest
from kombu import Connection

from servers.access import BrokerAccess, BrokerServer
from servers.certificates import issue_certificate
from servers.ports import HOST
from servers.redis import Redis
from support.proxy import proxied_url, run_proxy
from support.publisher_scripts import script_output

#: Sends a task for each case, in a process that is forked before the toolbox is
#: imported. Prints for each the id and the package of the transport, or the error.
PUBLISH = """\
import json, os, sys
from importlib import import_module
from multiprocessing import get_context

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

def publish(kind, source, url, settings):
    package = "conf" if kind == "Config" else "routing"
    configure = getattr(import_module(f"cadasta.workertoolbox.{package}"), kind)
    if source == "environment":
        os.environ["CELERY_BROKER_URL"] = url
    app = Celery("publisher", **({"broker": url} if source == "Celery" else {}))
    keyword = {"broker_url": url} if source == "keyword" else {}
    app.config_from_object(configure(["export"], **keyword, **settings))
    if source == "conf":
        app.conf.broker_url = url
    id = app.send_task("export.anything").id
    with app.connection_for_write() as connection:
        return id, type(connection.transport).__module__.rpartition(".")[0]

def report(*case):
    try:
        answer = publish(*case)
    except Exception as error:
        answer = [str(error)]
    print(json.dumps(answer))

cases, settings, scheme = map(json.loads, sys.argv[1:])
import_module(TRANSPORT_ALIASES[scheme].partition(":")[0])  # Once for all processes.
for case in cases:
    process = get_context("fork").Process(target=report, args=(*case, settings))
    process.start()
    process.join()
"""

#: A class that configures an app, where the broker's URL is set, and the URL or URLs.
Case: TypeAlias = tuple[str, str, object]

#: The classes that configure an app.
KINDS = ["Config", "Routing"]

#: The places that the broker's URL can be set in.
SOURCES = ["keyword", "Celery", "conf", "environment"]

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


def publish(broker: BrokerSettings, cases: Sequence[Case]) -> list[str]:
    """Send a task for each case from a new process, and return their ids in order."""
    ids = []
    for [id, *package] in attempt(broker, cases):
        assert package == ["cadasta.workertoolbox.routing.transports"], id
        ids.append(id)
    return ids


def attempt(broker: BrokerSettings, cases: Sequence[Case]) -> list[list[str]]:
    """Try to send a task for each case from a new process.

    Returns:
        For each case the id of its task and the package of the transport, or the text
        of the error.
    """
    scheme = broker.url.partition(":")[0]
    output = script_output(PUBLISH, cases, broker.settings, scheme)
    answers = [json.loads(line) for line in output.splitlines()]

    assert len(answers) == len(cases)
    return answers


def test_a_task_and_its_copy_reach_their_queues(broker: BrokerSettings) -> None:
    ids = publish(broker, [(*each, broker.url) for each in product(KINDS, SOURCES)])

    assert broker.take("export") == ids
    assert sorted(broker.take("platform.fifo")) == sorted(ids)


def test_the_default_queue_prefix_on_sqs_is_dev(sqs: BrokerServer) -> None:
    with sqs.access() as access:
        broker = settings_for(access, prefix="dev")
        del broker.settings["QUEUE_PREFIX"]
        for queue in ("export", "platform.fifo"):
            broker.take(queue)  # Another run may have used the same prefix.
        ids = publish(broker, [(kind, "keyword", broker.url) for kind in KINDS])

    assert broker.take("export") == ids
    assert sorted(broker.take("platform.fifo")) == sorted(ids)


@pytest.mark.parametrize("broker", ["rabbitmq", "redis", *TLS], indirect=True)
def test_the_second_broker_is_used_while_the_first_is_down(
    broker: BrokerSettings,
) -> None:
    with run_proxy(HOST, 0) as down:
        down.refuse_connections()
        urls = [proxied_url(broker.url, down), broker.url]
        cases = product(KINDS, ["keyword"], [";".join(urls), urls])
        ids = publish(broker, list(cases))

    assert broker.take("export") == ids
    assert broker.take("platform.fifo") == ids


@pytest.mark.parametrize("broker", TLS, indirect=True)
def test_a_certificate_of_an_unknown_authority_is_refused(
    broker: BrokerSettings, tmp_path: Path
) -> None:
    other = with_authority(broker, issue_certificate(tmp_path).authority)
    answers = attempt(other, [(kind, "keyword", other.url) for kind in KINDS])

    assert ["CERTIFICATE_VERIFY_FAILED" in error for [error] in answers] == [True, True]


@pytest.mark.parametrize("broker", ["amqps", "rediss"], indirect=True)
def test_any_certificate_is_accepted_if_none_is_required(
    broker: BrokerSettings, tmp_path: Path
) -> None:
    authority = issue_certificate(tmp_path).authority
    unverified = with_authority(broker, authority, cert_reqs=ssl.CERT_NONE)
    ids = publish(unverified, [(kind, "keyword", broker.url) for kind in KINDS])

    assert broker.take("export") == ids
