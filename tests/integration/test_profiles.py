"""The effects of each broker's profile, on that broker."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.parse import urlsplit

import pytest
from billiard.exceptions import WorkerLostError
from celery import Celery
from kombu import pools
from sqlalchemy import NullPool, create_engine, text

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.results import upgrade
from support import profile_service, sqs_requests
from support.processes import Process, running
from support.proxy import Proxy, proxied_url, run_proxy
from support.queue_contents import (
    QueueContents,
    RedisContents,
    SQSContents,
    open_queue_contents,
)
from support.routing_processes import WORKER, executions, wait_for_executions

BROKERS = ("rabbitmq", "quorum", "redis", "sqs")

#: Transport options with which Redis and SQS redeliver messages within seconds.
FAST_REDELIVERY = {
    "visibility_timeout": 1,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}


@pytest.fixture
def settings(request: pytest.FixtureRequest, queues: QueueContents) -> dict[str, Any]:
    """Keywords to `Config` for the broker of the test."""
    found: dict[str, Any] = {
        "broker_url": queues.access.url,
        "broker_transport_options": dict(queues.access.transport_options),
    }
    if request.node.callspec.params.get("queues") == "quorum":
        found["queue_type"] = "quorum"
    return found


@pytest.fixture
def queues(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueContents]:
    """The broker that the test's parameter names, used by this test alone."""
    name = {"quorum": "rabbitmq"}.get(request.param, request.param)
    with open_queue_contents(name, request, tmp_path) as queues:
        yield queues


@contextmanager
def open_app(settings: Mapping[str, Any]) -> Iterator[Celery]:
    """Yield an app in this process, and close it when the block ends."""
    app = profile_service.make_app(settings)
    try:
        yield app
    finally:
        # Otherwise the next app would use the connections in the process's pools.
        pools.reset()
        app.close()


def run_worker(
    settings: Mapping[str, Any], folder: Path, *arguments: str
) -> AbstractContextManager[Process]:
    """Run a worker process with one child."""
    return running(
        [
            sys.executable,
            profile_service.__file__,
            "worker",
            *WORKER,
            "-c",
            "1",
            *arguments,
        ],
        folder=folder,
        environment={
            profile_service.SETTINGS: json.dumps(settings),
            profile_service.JOURNAL: str(folder / "journal"),
        },
        name="worker",
        timeout_s=10.0,
    )


@pytest.fixture
def proxy(queues: QueueContents) -> Iterator[Proxy]:
    """A proxy for the broker."""
    url = urlsplit(queues.access.url)
    assert url.hostname and url.port
    with run_proxy(url.hostname, url.port) as proxy:
        yield proxy


@pytest.mark.parametrize("queues", BROKERS, indirect=True)
def test_the_task_of_a_killed_worker_is_lost_or_with_late_acks_runs_again(
    settings: dict[str, Any], tmp_path: Path, queues: QueueContents
) -> None:
    if isinstance(queues, RedisContents | SQSContents):
        settings["broker_transport_options"] |= FAST_REDELIVERY
    with open_app(settings) as app:
        lost = app.send_task("export.hang").id
        with run_worker(settings, tmp_path) as process:
            wait_for_executions(tmp_path, [lost])
            process.kill()
        waiting = queues.ids("export"), count_unacknowledged(queues)
        id = app.send_task("export.hang").id
        settings["task_acks_late"] = True
        for count in (1, 2):
            with run_worker(settings, tmp_path) as process:
                wait_for_executions(tmp_path, [lost, *count * [id]])
                process.kill()

    assert waiting == ([], 0)


def count_unacknowledged(queues: QueueContents) -> int:
    """Return the number of messages that wait for the visibility timeout."""
    if isinstance(queues, RedisContents):
        with queues.connected() as client:
            count: Any = client.hlen(queues.key("unacked"))
        return int(count)
    if isinstance(queues, SQSContents):
        name = "ApproximateNumberOfMessagesNotVisible"
        found = queues.client().get_queue_attributes(
            QueueUrl=queues.url("export"), AttributeNames=[name]
        )
        return int(found["Attributes"][name])
    return 0


@pytest.mark.parametrize("queues", ["rabbitmq", "redis"], indirect=True)
def test_a_task_that_kills_its_process_runs_again_and_then_fails(
    settings: dict[str, Any], tmp_path: Path, queues: QueueContents
) -> None:
    database = f"workertoolbox+sqlite:///{tmp_path / 'results.sqlite'}"
    upgrade(database)
    settings |= {"task_acks_late": True, "result_backend": database}
    with open_app(settings) as app, run_worker(settings, tmp_path):
        result = app.send_task("export.die")
        with pytest.raises(WorkerLostError):
            result.get(timeout=60)  # Each loss is noticed after five seconds or more.

    assert executions(tmp_path) == [result.id, result.id]
    assert queues.ids("export") == []


@pytest.mark.parametrize("queues", ["rabbitmq", "redis"], indirect=True)
def test_a_worker_waits_for_a_broker_that_starts_later(
    settings: dict[str, Any], tmp_path: Path, proxy: Proxy
) -> None:
    with open_app(settings) as app:
        id = app.send_task("export.note").id
    proxy.refuse_connections()
    settings["broker_url"] = proxied_url(settings["broker_url"], proxy)
    with run_worker(settings, tmp_path) as process:
        process.wait_for("Trying again in")
        proxy.accept_connections()
        wait_for_executions(tmp_path, [id])


@pytest.mark.parametrize("queues", ["rabbitmq", "redis"], indirect=True)
def test_publishing_waits_during_a_broker_outage_of_some_seconds(
    settings: dict[str, Any], proxy: Proxy, queues: QueueContents
) -> None:
    settings["broker_url"] = proxied_url(settings["broker_url"], proxy)
    with open_app(settings) as app:
        first = app.send_task("export.note").id
        proxy.refuse_connections()
        proxy.cut()
        later = Timer(2.0, proxy.accept_connections)
        later.start()
        second = app.send_task("export.note").id
        later.join()

    assert queues.ids("export") == sorted([first, second])


@pytest.mark.parametrize("queues", ["rabbitmq"], indirect=True)
def test_a_connection_has_the_heartbeat_and_the_confirms_of_the_profile(
    settings: dict[str, Any],
) -> None:
    with (
        open_app(settings) as app,
        app.connection_for_read(heartbeat=app.conf.broker_heartbeat) as connection,
    ):
        amqp: Any = connection.connection

        assert amqp.heartbeat == 30
        assert amqp.confirm_publish is True


@pytest.mark.parametrize("queues", ["rabbitmq"], indirect=True)
def test_a_worker_reconnects_to_a_broker_that_stops_answering(
    settings: dict[str, Any], tmp_path: Path, proxy: Proxy
) -> None:
    through_proxy = {
        **settings,
        "broker_url": proxied_url(settings["broker_url"], proxy),
        "broker_heartbeat": 1,
    }
    with open_app(settings) as app, run_worker(through_proxy, tmp_path) as process:
        process.wait_for("ready.")
        proxy.stall()
        id = app.send_task("export.note").id
        wait_for_executions(tmp_path, [id])


@pytest.mark.parametrize("queues", ["redis"], indirect=True)
def test_publishing_on_an_unresponsive_connection_uses_a_new_connection(
    settings: dict[str, Any], proxy: Proxy, queues: QueueContents
) -> None:
    settings["broker_url"] = proxied_url(settings["broker_url"], proxy)
    settings["broker_transport_options"]["socket_timeout"] = 1
    with open_app(settings) as app:
        first = app.send_task("export.note").id
        proxy.stall()
        second = app.send_task("export.note").id

    assert queues.ids("export") == sorted([first, second])


@pytest.mark.parametrize("queues", ["sqs"], indirect=True)
def test_predefined_queues_are_used_with_the_default_credentials_of_aws(
    queues: SQSContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = urlsplit(queues.access.url)
    names = ("celery", "export", "platform.fifo")
    for name in names:
        fifo = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        queues.client().create_queue(QueueName=queues.prefix + name, Attributes=fifo)
    lines = "\n".join(f"{name}={queues.url(name)}" for name in names)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "CHAIN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("WORKERTOOLBOX_PREDEFINED_QUEUES", lines)
    settings = {
        "broker_url": f"sqs://{url.hostname}:{url.port}/",
        "broker_transport_options": {"is_secure": False},
    }
    with sqs_requests.recorded() as requests, open_app(settings) as app:
        id = app.send_task("export.note").id

    assert queues.ids("export") == [id]
    assert queues.ids("platform.fifo") == [id]
    assert {request.key for request in requests} == {"CHAIN"}
    assert sorted(
        request.queue.removeprefix(queues.prefix)
        for request in requests
        if request.operation == "SendMessage"
    ) == ["export", "platform.fifo"]


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")
def test_a_broker_named_only_by_the_app_replaces_the_default_broker(
    tmp_path: Path,
) -> None:
    broker = f"sqla+sqlite:///{tmp_path / 'broker.sqlite'}"
    app = Celery("profiled", broker=broker, set_as_current=False)
    app.config_from_object(Config(["export"], result_backend=None))
    id = app.send_task("export.note").id
    app.close()
    pools.reset()
    engine = create_engine(broker.removeprefix("sqla+"), poolclass=NullPool)
    with engine.connect() as connection:
        payloads = list(connection.scalars(text("SELECT payload FROM kombu_message")))

    assert len(payloads) == 2
    assert all(id in payload for payload in payloads)
