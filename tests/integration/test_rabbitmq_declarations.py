"""Queues and exchanges that RabbitMQ has otherwise than this service declares them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, PreconditionFailed
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from cadasta.workertoolbox.routing import Unroutable
from servers.access import BrokerAccess
from servers.rabbitmq import ExternalRabbitMQ, RabbitMQ
from support.polling import wait_until
from support.queue_contents import RabbitMQContents
from support.routing_processes import (
    consume_ids,
    routing_app,
    run_worker,
    wait_for_executions,
)

MONITOR = "platform.fifo"

#: The permission to publish to exchanges, without any to declare or to bind.
PUBLISH_ONLY = {"write": "^(task_exchange|celery_delayed_27)$"}


@pytest.fixture
def server(rabbitmq: RabbitMQ | ExternalRabbitMQ) -> RabbitMQ:
    """The broker, with its management API."""
    if not isinstance(rabbitmq, RabbitMQ):
        pytest.skip("needs the management API of a broker that the tests started")
    return rabbitmq


@contextmanager
def restricted(
    server: RabbitMQ, queues: RabbitMQContents, **permissions: str
) -> Iterator[RabbitMQContents]:
    """Yield the same virtual host for a user with these permissions."""
    with server.user(queues.access.url, **permissions) as url:
        yield RabbitMQContents(BrokerAccess(url))


def warnings_about(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    """Return the toolbox's warnings that contain a word."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING
        and record.name.startswith("cadasta")
        and word in record.getMessage()
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {"durable": True, "arguments": {"x-max-priority": 9}},
        {"durable": True, "arguments": {"x-queue-type": "quorum"}},
        {"durable": True, "arguments": {"x-message-ttl": 600_000}},
        {"durable": False, "arguments": {}},
    ],
    ids=["priority", "quorum", "ttl", "not durable"],
)
@pytest.mark.parametrize("queue", ["export", MONITOR])
def test_a_queue_with_other_arguments_is_used_and_reported_once(
    rabbitmq_queues: RabbitMQContents,
    caplog: pytest.LogCaptureFixture,
    queue: str,
    arguments: dict[str, Any],
) -> None:
    with rabbitmq_queues.channel() as channel:
        channel.queue_declare(queue, auto_delete=False, **arguments)
    ids = []
    for _ in range(2):
        with routing_app(rabbitmq_queues) as app:
            ids.append(app.send_task("export.note").id)
            app.send_task("msg.note", task_id=f"msg-{ids[-1]}")

    wait_until(lambda: rabbitmq_queues.ids("export") == sorted(ids))
    assert [id[4:] for id in rabbitmq_queues.ids("msg")] == sorted(ids)
    wait_until(lambda: len(rabbitmq_queues.ids(MONITOR)) == 4)
    [warning] = warnings_about(caplog, f"queue '{queue}' is used as")
    assert "inequivalent arg" in warning


def test_a_queue_of_another_connection_stops_only_its_own_tasks(
    rabbitmq_queues: RabbitMQContents,
) -> None:
    with rabbitmq_queues.channel() as channel:
        channel.queue_declare("export", exclusive=True)
        with routing_app(rabbitmq_queues, task_publish_retry=False) as app:
            id = app.send_task("msg.note").id
            with pytest.raises(OperationalError, match="locked queue 'export'"):
                app.send_task("export.note")

        assert rabbitmq_queues.ids("msg") == rabbitmq_queues.ids(MONITOR) == [id]


def test_an_exchange_of_another_type_is_an_error_that_names_it(
    rabbitmq_queues: RabbitMQContents,
) -> None:
    with rabbitmq_queues.channel() as channel:
        channel.exchange_declare("task_exchange", "direct", durable=True)
    with routing_app(rabbitmq_queues) as app:
        with pytest.raises(PreconditionFailed, match=r"'type'.*'task_exchange'"):
            app.send_task("export.note")


@pytest.mark.parametrize("reason", ["type", "permission"])
def test_an_exchange_of_a_user_that_cannot_be_used_stops_only_its_own_tasks(
    server: RabbitMQ, rabbitmq_queues: RabbitMQContents, reason: str
) -> None:
    names = ("a", "b", "c")
    own = [Queue(name, Exchange(name, "topic"), "#") for name in names]
    with rabbitmq_queues.channel() as channel:
        kind = "direct" if reason == "type" else "topic"
        channel.exchange_declare("b", kind, durable=True, auto_delete=False)
    may_read = "^(?!b$)" if reason == "permission" else ".*"
    with (
        restricted(
            server, rabbitmq_queues, configure=".*", write=".*", read=may_read
        ) as mine,
        routing_app(mine, queues=["export", *own]) as app,
    ):
        ids = [
            app.send_task("export.note", queue=name).id for name in ("export", "a", "c")
        ]
        with pytest.raises((PreconditionFailed, Unroutable)):
            app.send_task("export.note", queue="b")

    wait_until(lambda: rabbitmq_queues.ids(MONITOR) == sorted(ids))


@pytest.mark.parametrize("queue_type", [None, "classic", "quorum"])
def test_tasks_run_on_a_virtual_host_whose_queues_are_quorum_queues(
    server: RabbitMQ, tmp_path: Path, queue_type: str | None
) -> None:
    with server.vhost(default_queue_type="quorum") as url:
        queues = RabbitMQContents(BrokerAccess(url))
        settings = {"queue_type": queue_type} if queue_type else {}
        with routing_app(queues, **settings) as app:
            ids = [app.send_task("export.note").id for _ in range(2)]
            ids.append(app.send_task("export.note", countdown=1).id)
            with run_worker(queues, tmp_path, "-P", "solo", **settings):
                wait_for_executions(tmp_path, ids)
            assert {*consume_ids(app, MONITOR, 3)} <= {*ids}


def test_a_user_who_may_only_publish_uses_what_others_have_declared(
    server: RabbitMQ, rabbitmq_queues: RabbitMQContents
) -> None:
    with restricted(server, rabbitmq_queues, **PUBLISH_ONLY) as mine:
        with routing_app(mine) as app, pytest.raises(AccessRefused):
            app.send_task("export.note")
        with routing_app(rabbitmq_queues) as app:
            ids = [app.send_task("export.note").id]
        with routing_app(mine) as app:
            ids.append(app.send_task("export.note").id)

    assert rabbitmq_queues.ids("export") == rabbitmq_queues.ids(MONITOR) == sorted(ids)


def test_a_user_who_may_only_publish_uses_delays_that_others_have_declared(
    server: RabbitMQ, rabbitmq_queues: RabbitMQContents
) -> None:
    with restricted(server, rabbitmq_queues, **PUBLISH_ONLY) as mine:
        with routing_app(rabbitmq_queues, queue_type="quorum") as app:
            ids = [app.send_task("export.note", countdown=1).id]
        with routing_app(mine, queue_type="quorum") as app:
            ids.append(app.send_task("export.note", countdown=1).id)
        wait_until(lambda: rabbitmq_queues.ids("export") == sorted(ids))


def test_a_worker_runs_tasks_of_queues_that_it_may_not_declare(
    server: RabbitMQ, rabbitmq_queues: RabbitMQContents, tmp_path: Path
) -> None:
    with routing_app(rabbitmq_queues) as app:
        id = app.send_task("export.note").id
    with restricted(server, rabbitmq_queues, read="^(export|msg|celery)$") as mine:
        with run_worker(
            mine, tmp_path, "-P", "solo", worker_enable_remote_control=False
        ):
            wait_for_executions(tmp_path, [id])


@pytest.mark.parametrize("first", ["classic", "quorum"])
@pytest.mark.parametrize("second", ["classic", "quorum"])
def test_services_with_different_types_of_delays_share_them(
    rabbitmq_queues: RabbitMQContents, first: str, second: str
) -> None:
    ids = []
    for delay_type in (first, second):
        settings = {
            "queue_type": "quorum",
            "broker_native_delayed_delivery_queue_type": delay_type,
        }
        with routing_app(rabbitmq_queues, **settings) as app:
            ids.append(app.send_task("export.note", countdown=1).id)

    wait_until(lambda: rabbitmq_queues.ids("export") == sorted(ids))


def test_the_delays_have_the_type_of_celerys_setting(
    server: RabbitMQ, rabbitmq_queues: RabbitMQContents
) -> None:
    settings = {
        "queue_type": "quorum",
        "broker_native_delayed_delivery_queue_type": "classic",
    }
    with routing_app(rabbitmq_queues, **settings) as app:
        app.send_task("export.note", countdown=1)
    arguments = server.queue_arguments(rabbitmq_queues.access.url)

    assert arguments["celery_delayed_27"]["x-queue-type"] == "classic"


@pytest.mark.parametrize("delay_type", ["classic", "quorum"])
def test_the_first_worker_on_quorum_queues_starts_without_errors(
    rabbitmq_queues: RabbitMQContents, tmp_path: Path, delay_type: str
) -> None:
    settings = {
        "queue_type": "quorum",
        "broker_native_delayed_delivery_queue_type": delay_type,
    }
    with run_worker(
        rabbitmq_queues, tmp_path, "-P", "solo", "-Q", "export", **settings
    ) as process:
        wait_until(lambda: "ready" in process.text)
        with routing_app(rabbitmq_queues, **settings) as app:
            id = app.send_task("export.note", countdown=1).id
            wait_for_executions(tmp_path, [id])

    assert "CRITICAL" not in process.text
    assert "WARNING" not in process.text


def test_one_service_introduces_priorities_without_the_others(
    server: RabbitMQ,
    rabbitmq_queues: RabbitMQContents,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = {"queues": ["mail"], "task_queue_max_priority": 9}
    for options in ({}, settings, {}):
        with routing_app(rabbitmq_queues, **options) as app:
            app.send_task("celery.note")
            app.send_task("mail.note" if options else "export.note", priority=3)
    arguments = server.queue_arguments(rabbitmq_queues.access.url)

    assert arguments["mail"] == {"x-max-priority": 9}
    assert not any("x-max-priority" in arguments[name] for name in ("celery", MONITOR))
    assert warnings_about(caplog, "queue") == []


def test_a_lost_connection_is_not_taken_for_a_refusal(
    rabbitmq_queues: RabbitMQContents,
) -> None:
    with routing_app(rabbitmq_queues) as app:
        app.send_task("export.note", task_id="1")
        with app.connection_for_write() as connection:
            raw: Any = connection.connection
            raw.transport.close()
            app.send_task("export.note", task_id="2", connection=connection)

    assert rabbitmq_queues.ids("export") == rabbitmq_queues.ids(MONITOR) == ["1", "2"]
