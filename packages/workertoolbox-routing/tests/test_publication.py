from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue

from cadasta.workertoolbox.routing import (
    PUBLISHED_AT,
    InvalidSetting,
    NotJSON,
    Routing,
)
from cadasta.workertoolbox.routing._headers import SERVICE, SERVICE_VERSION


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(Routing(["export"], broker_url="memory://"))
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()
            received(app, queue.name)  # what other tests have left
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


def test_a_message_names_its_service_and_a_retry_keeps_the_first_one(
    app: Celery,
) -> None:
    services = []
    for options in (
        {},
        {"headers": {SERVICE: "other", "order": 5}},
        {"headers": {SERVICE: "other"}, "retries": 1},
        {"headers": {SERVICE: "other"}, "replaced_task_nesting": 1},
        {"retries": 1},
    ):
        app.send_task("export.project", **options)
        [message] = received(app, "platform.fifo")
        services.append(message.headers[SERVICE])

    assert services == ["tests", "tests", "other", "other", "tests"]


def test_a_message_carries_the_version_and_a_retry_keeps_the_first_one(
    app: Celery,
) -> None:
    app.conf.SERVICE_VERSION = "1.4.0"
    versions = []
    for options in (
        {},
        {"headers": {SERVICE_VERSION: "other"}},
        {"headers": {SERVICE: "s", SERVICE_VERSION: "1.3.0"}, "retries": 1},
        {"headers": {SERVICE: "s"}, "retries": 1},
    ):
        app.send_task("export.project", **options)
        [message] = received(app, "platform.fifo")
        versions.append(message.headers.get(SERVICE_VERSION))

    assert versions == ["1.4.0", "1.4.0", "1.3.0", None]


def test_an_app_without_a_name_publishes_messages_without_one(app: Celery) -> None:
    app.main = ""
    app.send_task("export.project")
    [message] = received(app, "platform.fifo")

    assert not {SERVICE, SERVICE_VERSION} & {*message.headers}


@pytest.mark.parametrize(
    "options",
    [
        {"exchange": "", "routing_key": "export"},
        {"queue": Queue("export")},
        {"queue": Queue("export", Exchange("task_exchange", "topic"), "#")},
        {"exchange_type": "direct"},
        {"exchange": "task_exchange"},
        {"declare": []},
        {"queue": "export", "declare": [Queue("export")]},
    ],
)
def test_a_task_is_copied_whatever_options_name_its_queue(
    app: Celery, options: dict[str, Any]
) -> None:
    id = app.send_task("export.project", **options).id
    for queue in ("export", "platform.fifo"):
        assert [message.headers["id"] for message in received(app, queue)] == [id]


def test_a_message_made_by_hand_is_copied(app: Celery) -> None:
    message = app.amqp.create_task_message("1", "export.project")
    with app.producer_pool.acquire() as producer:
        app.amqp.send_task_message(producer, "export.project", message, queue="export")
    for queue in ("export", "platform.fifo"):
        [received_message] = received(app, queue)

        assert PUBLISHED_AT in received_message.headers


@pytest.mark.parametrize("routes", [{"other.*": "export"}, None])
def test_routes_that_are_set_later_are_the_users_own(app: Celery, routes: Any) -> None:
    app.conf.task_routes = routes
    app.send_task("export.project")
    app.conf.update(task_routes={"other.*": "export"})
    app.send_task("other.task")

    assert len(received(app, "export")) == len(received(app, "platform.fifo")) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_queues", [Queue("export")]),
        ("task_default_queue", "export"),
        ("task_default_exchange", "media"),
        ("task_default_exchange_type", "direct"),
        ("task_default_routing_key", "export"),
        ("task_protocol", 1),
        ("task_serializer", "pickle"),
    ],
)
def test_a_setting_that_is_changed_later_is_an_error_at_the_caller(
    app: Celery, name: str, value: object
) -> None:
    setattr(app.conf, name, value)

    for _ in range(2):
        with pytest.raises(InvalidSetting, match=name):
            app.send_task("export.project")
    assert received(app, "platform.fifo") == []


def test_a_body_that_is_not_serialized_as_json_is_refused(app: Celery) -> None:
    with pytest.raises(NotJSON, match="application/x-python-serialize"):
        app.send_task("export.project", content_type="application/x-python-serialize")


def test_a_message_of_protocol_1_is_refused(app: Celery) -> None:
    message = app.amqp.as_task_v1("1", "export.project")
    with app.producer_pool.acquire() as producer:
        with pytest.raises(InvalidSetting, match="task_protocol=1"):
            app.amqp.send_task_message(producer, "export.project", message)


def test_a_message_of_a_plain_app_has_no_added_header() -> None:
    other = Celery("other", broker="memory://", set_as_current=False)
    other.conf.task_queues = [Queue("plain", Exchange("plain"), routing_key="plain")]
    other.conf.task_default_queue = "plain"
    other.send_task("plain.task")
    [message] = received(other, "plain")
    other.close()

    assert PUBLISHED_AT not in message.headers
