from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue

from cadasta.workertoolbox.routing import PUBLISHED_AT, Routing


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(Routing(["export"], broker_url="memory://"))
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()
            queue(connection.default_channel).purge()
        yield app
    app.close()


def received(app: Celery, queue: str) -> list[Any]:
    with app.connection_for_read() as connection:
        bound = app.amqp.queues[queue](connection.default_channel)
        return list(iter(bound.get, None))


def test_a_task_goes_to_its_queue_and_to_the_monitor_queue(app: Celery) -> None:
    result = app.send_task("export.project", ["a"])
    ids = {
        queue: [message.headers["id"] for message in received(app, queue)]
        for queue in ("export", "platform.fifo", "celery")
    }

    assert ids == {"export": [result.id], "platform.fifo": [result.id], "celery": []}


def test_a_message_says_when_it_was_published(app: Celery) -> None:
    app.send_task("export.project")
    [message] = received(app, "platform.fifo")
    published_at = datetime.fromisoformat(message.headers[PUBLISHED_AT])

    assert timedelta() <= datetime.now(UTC) - published_at < timedelta(minutes=1)


def test_a_message_of_a_plain_app_has_no_added_header() -> None:
    other = Celery("other", broker="memory://", set_as_current=False)
    other.conf.task_queues = [Queue("plain", Exchange("plain"), routing_key="plain")]
    other.conf.task_default_queue = "plain"
    other.send_task("plain.task")
    [message] = received(other, "plain")
    other.close()

    assert PUBLISHED_AT not in message.headers
