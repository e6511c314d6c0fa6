"""Plain Celery apps in a process that imports routing.

The import replaces kombu's transports for such apps too; they must still work.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from kombu import Exchange, Queue

from cadasta.workertoolbox.routing import PUBLISHED_AT, Routing

#: The tests may run as root, and Celery warns about it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:You're running the worker with superuser privileges"
)


@pytest.fixture(params=["memory", "filesystem"])
def plain_app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Celery]:
    """A plain Celery app with a direct queue, beside an app that publishes copies."""
    routed = Celery("routed", set_as_current=False)
    routed.config_from_object(Routing(["export"], broker_url="memory://"))
    routed.send_task("export.project")
    routed.close()
    app = Celery("plain", broker=f"{request.param}://", set_as_current=False)
    app.conf.task_default_queue = f"plain-{uuid4()}"
    if request.param == "filesystem":
        (tmp_path / "queues").mkdir()
        app.conf.broker_transport_options = {
            "data_folder_in": str(tmp_path / "queues"),
            "data_folder_out": str(tmp_path / "queues"),
            "control_folder": str(tmp_path / "bindings"),
        }
    yield app
    app.close()


def received(app: Celery, queue: Queue) -> list[Any]:
    with app.connection_for_read() as connection:
        return list(iter(queue(connection.default_channel).get, None))


def test_a_plain_app_uses_the_transports_of_routing(plain_app: Celery) -> None:
    with plain_app.connection_for_write() as connection:
        module = type(connection.transport).__module__

    assert module.startswith("cadasta.workertoolbox.routing.transports.")


def test_a_plain_app_can_name_kombus_own_transport(plain_app: Celery) -> None:
    scheme = plain_app.connection_for_write().transport_cls
    plain_app.conf.broker_transport = f"kombu.transport.{scheme}:Transport"
    plain_app.send_task("plain.note", [1])
    with plain_app.connection_for_write() as connection:
        module = type(connection.transport).__module__

    assert module == f"kombu.transport.{scheme}"


def test_tasks_of_a_plain_app_are_published_and_executed(plain_app: Celery) -> None:
    executed: list[int] = []
    all_executed = Event()

    @plain_app.task(name="plain.note", shared=False)
    def note(number: int) -> None:
        executed.append(number)
        if len(executed) == 4:
            all_executed.set()

    for number in range(3):
        note.delay(number)
    # The root logger keeps the level of the worker in the tests that follow.
    with start_worker(
        plain_app, pool="solo", loglevel="warning", perform_ping_check=False
    ):
        note.delay(3)
        all_executed.wait(timeout=60)

    assert executed == [0, 1, 2, 3]


def test_a_message_of_a_plain_app_is_as_celery_makes_it(plain_app: Celery) -> None:
    name = plain_app.conf.task_default_queue
    plain_app.send_task("plain.note", [1], argsrepr="(…)")
    [message] = received(plain_app, plain_app.amqp.queues[name])

    assert message.headers["task"] == "plain.note"
    assert not any(header.startswith("workertoolbox") for header in message.headers)
    assert PUBLISHED_AT not in message.headers
    assert message.delivery_info == {"exchange": "", "routing_key": name}


def test_a_requeued_message_of_a_plain_app_returns_to_its_queue(
    plain_app: Celery,
) -> None:
    id = plain_app.send_task("plain.note", [1]).id
    with plain_app.connection_for_read() as connection:
        name = plain_app.conf.task_default_queue
        queue: Any = plain_app.amqp.queues[name](connection.default_channel)
        queue.get().requeue()
        again = queue.get()

    assert again.headers["id"] == id


def test_a_topic_exchange_of_a_plain_app_delivers_to_every_matching_queue(
    plain_app: Celery,
) -> None:
    exchange = Exchange(f"plain-{uuid4()}", type="topic")
    queues = [
        Queue(f"plain-{uuid4()}", exchange, routing_key=key) for key in ("a.*", "a.b")
    ]
    with plain_app.connection_for_write() as connection:
        for queue in queues:
            queue(connection.default_channel).declare()
        connection.Producer().publish({"n": 1}, exchange=exchange, routing_key="a.b")
        bound: list[Any] = [queue(connection.default_channel) for queue in queues]
        found = [queue.get() for queue in bound]

    assert [message.payload for message in found] == [{"n": 1}, {"n": 1}]
    assert {message.delivery_info["exchange"] for message in found} == {exchange.name}
