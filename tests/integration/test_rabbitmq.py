"""Features of RabbitMQ: confirms, returns, quorum queues and delayed delivery."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from amqp import Message as AMQPMessage
from celery import Celery
from kombu import Producer

from cadasta.workertoolbox.routing import Unroutable
from servers.ports import HOST
from servers.rabbitmq import ExternalRabbitMQ, RabbitMQ
from support.polling import wait_until
from support.queue_contents import RabbitMQContents
from support.routing_processes import routing_app, run_worker, wait_for_executions

MONITOR = "platform.fifo"

QUEUES = ["celery", "export", "msg", MONITOR]


def delete_queues(rabbitmq_queues: RabbitMQContents) -> None:
    """Delete every queue without the service."""
    with rabbitmq_queues.channel() as channel:
        for queue in QUEUES:
            channel.queue_delete(queue)


def declare_queues(app: Celery) -> None:
    """Declare every queue on a new connection."""
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()


@contextmanager
def producer_of(app: Celery) -> Iterator[Producer]:
    """Yield a producer that keeps the same channel."""
    with app.connection_for_write() as connection:
        yield app.amqp.Producer(connection)


def test_a_task_that_reaches_no_queue_is_an_error_at_the_caller(
    rabbitmq_queues: RabbitMQContents,
) -> None:
    with routing_app(rabbitmq_queues) as app:
        app.send_task("export.note")
        for _ in range(2):
            delete_queues(rabbitmq_queues)
            with pytest.raises(Unroutable, match="'task_exchange'.*'export'"):
                app.send_task("export.note")
            ids = sorted(app.send_task("export.note").id for _ in range(3))

    assert rabbitmq_queues.ids("export") == rabbitmq_queues.ids(MONITOR) == ids


def test_each_publish_is_confirmed_by_its_own_confirm(
    rabbitmq_queues: RabbitMQContents,
) -> None:
    with routing_app(rabbitmq_queues) as app, producer_of(app) as producer:
        app.send_task("export.note", producer=producer)
        delete_queues(rabbitmq_queues)
        for _ in range(2):
            with pytest.raises(Unroutable):
                app.send_task("export.note", producer=producer)
        declare_queues(app)
        ids = [app.send_task("export.note", producer=producer).id for _ in range(3)]

    assert rabbitmq_queues.ids("export") == rabbitmq_queues.ids(MONITOR) == sorted(ids)


def test_a_task_for_a_deleted_exchange_is_declared_again_and_sent(
    rabbitmq_queues: RabbitMQContents,
) -> None:
    with routing_app(rabbitmq_queues) as app:
        app.send_task("export.note", task_id="before")
        with rabbitmq_queues.channel() as channel:
            channel.exchange_delete("task_exchange")
        for id in ("1", "2"):
            app.send_task("export.note", task_id=id)
        app.send_task("msg.note", task_id="3")

    assert rabbitmq_queues.ids("export") == ["1", "2", "before"]
    assert rabbitmq_queues.ids("msg") == ["3"]
    assert rabbitmq_queues.ids(MONITOR) == ["1", "2", "3", "before"]


def test_a_delayed_task_for_a_deleted_exchange_is_declared_again_and_sent(
    rabbitmq_queues: RabbitMQContents,
) -> None:
    with routing_app(rabbitmq_queues, queue_type="quorum") as app:
        app.send_task("export.note", task_id="before")
        app.send_task("export.note", task_id="0", countdown=60)
        with rabbitmq_queues.channel() as channel:
            channel.exchange_delete("celery_delayed_27")
        app.send_task("export.note", task_id="1", countdown=1)
        due = wait_until(lambda: "1" in rabbitmq_queues.ids("export"))

    assert due
    assert {"before", "0", "1"} == {*rabbitmq_queues.ids(MONITOR)}


def test_without_confirms_an_unroutable_task_is_not_an_error(
    rabbitmq_queues: RabbitMQContents,
) -> None:
    options = {"confirm_publish": False}
    with routing_app(rabbitmq_queues, broker_transport_options=options) as app:
        app.send_task("export.note")
        delete_queues(rabbitmq_queues)
        app.send_task("export.note")
        declare_queues(app)
        id = app.send_task("export.note").id

    assert rabbitmq_queues.ids("export") == rabbitmq_queues.ids(MONITOR) == [id]


def test_one_setting_makes_every_queue_a_quorum_queue(
    rabbitmq_queues: RabbitMQContents,
) -> None:
    with routing_app(rabbitmq_queues, queue_type="quorum") as app:
        id = app.send_task("export.note").id

    assert wait_until(lambda: rabbitmq_queues.ids("export")) == [id]
    assert wait_until(lambda: rabbitmq_queues.ids(MONITOR)) == [id]
    with rabbitmq_queues.channel() as channel:
        for queue in QUEUES:
            # RabbitMQ refuses this declaration if the queue is of another type.
            channel.queue_declare(
                queue,
                durable=True,
                auto_delete=False,
                arguments={"x-queue-type": "quorum"},
            )


def several(found: list[Any], count: int) -> list[Any]:
    """Return what was found.

    Raises:
        AssertionError: It is less than this count.
    """
    assert len(found) >= count, found
    return found


def test_a_delayed_task_is_copied_when_scheduled_and_queued_when_due(
    rabbitmq_queues: RabbitMQContents,
) -> None:
    with routing_app(rabbitmq_queues, queue_type="quorum") as app:
        id = app.send_task("export.note", countdown=3).id
        scheduled = rabbitmq_queues.ids(MONITOR), rabbitmq_queues.ids("export")
        due = wait_until(lambda: rabbitmq_queues.ids("export"))
        # RabbitMQ delivers a due message to one queue after the other.
        copied = wait_until(lambda: several(rabbitmq_queues.ids(MONITOR), 2))

    assert scheduled == ([id], [])
    assert due == [id]
    assert copied == [id, id]


def test_a_retry_of_a_delayed_task_is_delayed_again(
    rabbitmq_queues: RabbitMQContents, tmp_path: Path
) -> None:
    with routing_app(rabbitmq_queues, queue_type="quorum") as app:
        id = app.send_task("export.again", countdown=1).id
        with run_worker(rabbitmq_queues, tmp_path, "-P", "solo", queue_type="quorum"):
            wait_for_executions(tmp_path, [id, id])
    found = wait_until(lambda: several(rabbitmq_queues.messages(MONITOR), 4))
    headers = [message["headers"] for message in found]
    copies = [(header["id"], header["retries"]) for header in headers]

    # One copy when the task is scheduled, and one when it is due.
    assert sorted(copies) == [(id, 0), (id, 0), (id, 1), (id, 1)]
    assert rabbitmq_queues.ids("export") == rabbitmq_queues.ids("celery") == []


def test_a_worker_survives_a_message_that_its_client_cannot_read(
    rabbitmq_queues: RabbitMQContents, tmp_path: Path
) -> None:
    unreadable = AMQPMessage("[[], {}, {}]", content_type=b"\xff")
    with routing_app(rabbitmq_queues) as app:
        declare_queues(app)
        with rabbitmq_queues.channel() as channel:
            channel.basic_publish(
                unreadable, exchange="task_exchange", routing_key="export"
            )
        id = app.send_task("export.note").id
    with run_worker(rabbitmq_queues, tmp_path, "-P", "solo") as process:
        wait_for_executions(tmp_path, [id])
        exit_code = process.stop()

    assert exit_code == 0
    assert rabbitmq_queues.messages("export") == []


@pytest.mark.parametrize("full", ["export", MONITOR])
def test_a_full_queue_duplicates_no_task(
    rabbitmq_queues: RabbitMQContents, rabbitmq: RabbitMQ | ExternalRabbitMQ, full: str
) -> None:
    if not isinstance(rabbitmq, RabbitMQ):
        pytest.skip(
            "the limit needs the management API of a broker that the tests started"
        )
    limit_queue(rabbitmq_queues, rabbitmq, full)
    with routing_app(rabbitmq_queues) as app:
        app.send_task("export.note", task_id="1")
        with suppress(Exception):  # Refused; the task may still have been queued.
            app.send_task("export.note", task_id="2")

    assert rabbitmq_queues.ids(full) == ["1"]
    assert rabbitmq_queues.ids("export").count("2") <= 1


def limit_queue(
    rabbitmq_queues: RabbitMQContents, server: RabbitMQ, queue: str
) -> None:
    """Set a policy so that a queue refuses all but one message."""
    vhost = urlsplit(rabbitmq_queues.access.url).path[1:]
    policy = {
        "pattern": f"^{queue}$",
        "definition": {"max-length": 1, "overflow": "reject-publish"},
        "apply-to": "queues",
    }
    client = HTTPConnection(HOST, server.management_port)
    client.request(
        "PUT",
        f"/api/policies/{vhost}/limit",
        json.dumps(policy),
        {
            "Authorization": f"Basic {b64encode(b'guest:guest').decode()}",
            "Content-Type": "application/json",
        },
    )
    answer = client.getresponse()
    client.close()
    assert answer.status == 201
