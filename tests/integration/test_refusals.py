"""Brokers that answer and refuse: a permanent refusal ends, a temporary one waits."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from kombu import Consumer
from kombu.asynchronous import Hub, set_event_loop

from cadasta.workertoolbox.results import upgrade
from servers.access import BrokerAccess
from servers.rabbitmq import RabbitMQ
from support.brokers import result_backend_url
from support.denying_sqs import serve_denials
from support.processes import Process
from support.queue_contents import (
    QueueContents,
    RabbitMQContents,
    RedisContents,
    SQSContents,
)
from support.routing_processes import (
    routing_app,
    run_worker,
    wait_for_executions,
)
from support.task_commands import run_monitor

MONITOR = "platform.fifo"

QUEUES = ("celery", "export", "msg", MONITOR)

#: What a broker refuses, with the words that the reason contains.
REFUSALS = {
    "rabbitmq-password": ["ACCESS_REFUSED", "amqp://guest:"],
    "rabbitmq-vhost": ["not found", "nowhere"],
    "rabbitmq-permission": ["refused for user", "task_exchange"],
    "redis-password": ["invalid username-password pair", "redis://nobody:"],
    "redis-database": ["index is out of range", "redis://"],
    "sqs-missing": ["queue does not exist", "http://", "/gone-"],
    "sqs-denied": ["AccessDenied", "http://"],
    "sqs-keys": ["InvalidClientTokenId", "http://"],
}


@pytest.fixture(params=REFUSALS)
def refusal(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[QueueContents, dict[str, Any], list[str]]]:
    """A broker that refuses a service for good, settings, and words of the reason."""
    kind, _, what = request.param.partition("-")
    words = REFUSALS[request.param]
    server = request.getfixturevalue("sqs" if kind == "sqs" else kind)
    with ExitStack() as stack:
        access = stack.enter_context(server.access())
        url, options = access.url, dict(access.transport_options)
        if kind == "rabbitmq":
            yield (
                RabbitMQContents(BrokerAccess(_refused_amqp(stack, server, url, what))),
                {},
                words,
            )
        elif kind == "redis":
            refused = (
                url.replace("redis://", "redis://nobody:wrong@")
                if what == "password"
                else url.replace("/0", "/9999")
            )
            yield RedisContents(BrokerAccess(refused, options)), {}, words
        else:
            address = re.sub(".*@|/$", "", url)
            if what != "missing":
                code = {"denied": "AccessDenied", "keys": "InvalidClientTokenId"}[what]
                address = stack.enter_context(serve_denials(code))
            predefined = {
                name: {"url": f"http://{address}/123456789012/gone-{name}"}
                for name in QUEUES
            }
            options |= {"predefined_queues": predefined, "queue_name_prefix": ""}
            access = BrokerAccess(f"sqs://key:secret@{address}/", options)
            yield SQSContents(access), {}, words


def _refused_amqp(stack: ExitStack, server: Any, url: str, what: str) -> str:
    if what == "permission":
        if not isinstance(server, RabbitMQ):
            pytest.skip("needs the management API of a broker that the tests started")
        return stack.enter_context(server.user(url))
    if what == "password":
        return url.replace("guest:guest", "guest:wrong")
    return f"{url.rpartition('/')[0]}/nowhere"


def check_ended(process: Process, words: list[str]) -> None:
    """Check that a process ends with an error and its reason, without a secret."""
    exit_code = process.wait()

    assert exit_code == 1
    for word in words:
        assert word in process.text
    assert "wrong" not in process.text
    assert "Trying again" not in process.text


def test_a_worker_that_is_refused_for_good_ends_with_the_reason(
    refusal: tuple[QueueContents, dict[str, Any], list[str]], tmp_path: Path
) -> None:
    queues, settings, words = refusal
    with run_worker(queues, tmp_path, "-P", "solo", **settings) as process:
        check_ended(process, words)


class _DeafPoller:
    """A poller that waits and reports no event, so that timers read the answers."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None

    def poll(self, timeout_s: float | None) -> list[Any]:
        time.sleep(0.05)
        return []


# kombu uses functions of pycurl that are deprecated.
@pytest.mark.filterwarnings("ignore:.* is deprecated; use:DeprecationWarning")
def test_a_refusal_that_a_timer_of_the_event_loop_reads_is_raised_by_the_loop(
    sqs_queues: SQSContents,
) -> None:
    with serve_denials("InvalidClientTokenId") as address:
        urls = {name: {"url": f"http://{address}/1/{name}"} for name in QUEUES}
        settings = {
            "broker_url": f"sqs://key:secret@{address}/",
            "broker_transport_options": {
                "predefined_queues": urls,
                "queue_name_prefix": "",
            },
        }
        hub: Any = Hub()
        hub.poller = _DeafPoller()
        set_event_loop(hub)
        with (
            closing(hub),
            routing_app(sqs_queues, **settings) as app,
            app.connection_for_read() as connection,
        ):
            queue = app.amqp.queues["export"]
            Consumer(connection.default_channel, [queue], on_message=print).consume()
            rounds = hub.create_loop()
            with pytest.raises(ClientError, match="InvalidClientTokenId"):
                for _ in range(100):
                    next(rounds)


def test_a_monitor_that_is_refused_for_good_ends_with_the_reason(
    refusal: tuple[QueueContents, dict[str, Any], list[str]], tmp_path: Path
) -> None:
    queues, _, words = refusal
    backend = result_backend_url(f"sqlite:///{tmp_path / 'results.sqlite'}")
    upgrade(backend)
    environment = {
        "WORKERTOOLBOX_BROKER_URL": queues.access.url,
        "WORKERTOOLBOX_BROKER_TRANSPORT_OPTIONS": json.dumps(
            queues.access.transport_options
        ),
        "WORKERTOOLBOX_RESULT_BACKEND": backend,
    }
    with run_monitor(environment, tmp_path) as process:
        check_ended(process, words)


def test_a_producer_that_is_refused_for_good_gets_the_reason_at_once(
    refusal: tuple[QueueContents, dict[str, Any], list[str]],
) -> None:
    queues, settings, words = refusal
    # A retry would be noticed: it comes after a minute.
    policy = {"max_retries": 3, "interval_start": 60, "interval_max": 60}
    started_at = time.monotonic()
    with routing_app(queues, task_publish_retry_policy=policy, **settings) as app:
        with pytest.raises(Exception) as caught:
            app.send_task("export.note")

    assert all(word in str(caught.value) for word in words)
    assert "wrong" not in str(caught.value)
    assert time.monotonic() - started_at < 60


@pytest.mark.parametrize("queue", ["export", MONITOR])
def test_a_deleted_sqs_queue_is_created_again_by_the_next_task(
    sqs_queues: SQSContents, queue: str
) -> None:
    with routing_app(sqs_queues) as app:
        app.send_task("export.note", task_id="0")
        sqs_queues.client().delete_queue(QueueUrl=sqs_queues.url(queue))
        app.send_task("export.note", task_id="1")

    assert sqs_queues.ids(queue) == ["1"]


@pytest.mark.parametrize("is_predefined", [False, True])
@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_worker_waits_for_an_sqs_queue_that_was_deleted(
    sqs_queues: SQSContents, tmp_path: Path, is_predefined: bool, pool: str
) -> None:
    client = sqs_queues.client()
    options: dict[str, Any] = {}
    with routing_app(sqs_queues) as app:
        app.send_task("export.note", task_id="0")
        if is_predefined:
            urls = {name: {"url": sqs_queues.url(name)} for name in QUEUES}
            options = {"predefined_queues": urls, "queue_name_prefix": ""}
        with run_worker(
            sqs_queues,
            tmp_path,
            "-P",
            pool,
            "-c",
            "1",
            broker_transport_options=options,
        ) as worker:
            wait_for_executions(tmp_path, ["0"])
            client.delete_queue(QueueUrl=sqs_queues.url("export"))
            if is_predefined:
                worker.wait_for("queue does not exist")
                assert f"{sqs_queues.prefix}export" in worker.text
                client.create_queue(QueueName=f"{sqs_queues.prefix}export")
            app.send_task("export.note", task_id="1")
            wait_for_executions(tmp_path, ["0", "1"])

            assert worker.exit_code is None
            assert worker.text.count("Trying to re-establish") < 5


def test_the_error_of_a_predefined_queue_is_botocores_and_names_the_queue(
    sqs_queues: SQSContents,
) -> None:
    with serve_denials("AccessDenied") as address:
        urls = {name: {"url": f"http://{address}/1/{name}"} for name in QUEUES}
        options = {"predefined_queues": urls, "queue_name_prefix": ""}
        settings = {"broker_url": f"sqs://key:secret@{address}/"}
        with routing_app(
            sqs_queues, broker_transport_options=options, **settings
        ) as app:
            with pytest.raises(ClientError) as caught:
                app.send_task("export.note")

    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    assert "queue 'export'" in str(caught.value)
