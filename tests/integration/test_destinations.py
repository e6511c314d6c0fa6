"""Every way to name the destination of a task: the task is copied, or it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.app.routes import Router as PlainRouter
from kombu import Connection, Exchange, Producer, Queue

from cadasta.workertoolbox.routing import (
    InvalidSetting,
    RoutingError,
    UnknownQueue,
    UntrackedExchange,
    without_delay,
)
from support.queue_contents import BROKERS, QueueContents
from support.routing_processes import routing_app

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),
    pytest.mark.filterwarnings("ignore:(?s).*task attribute is deprecated"),
]

MONITOR = "platform.fifo"

#: Options of `send_task` and `apply_async`, with the queue that gets `export.note`, or
#: the error.
OPTIONS: dict[str, tuple[dict[str, Any], str | type[RoutingError]]] = {
    "nothing": ({}, "export"),
    "queue": ({"queue": "msg"}, "msg"),
    "nameless exchange": ({"exchange": "", "routing_key": "msg"}, "msg"),
    "nameless exchange object": (
        {"exchange": Exchange(""), "routing_key": "msg"},
        "msg",
    ),
    "nameless exchange alone": ({"exchange": ""}, "export"),
    "task exchange alone": ({"exchange": "task_exchange"}, "export"),
    "task exchange of another type": (
        {"exchange": Exchange("task_exchange", "direct"), "routing_key": "msg"},
        "msg",
    ),
    "queue object": ({"queue": Queue("msg")}, "msg"),
    "queue object with a key": ({"queue": Queue("msg", routing_key="export")}, "msg"),
    "queue object bound by #": (
        {"queue": Queue("msg", Exchange("task_exchange", "topic"), "#")},
        "msg",
    ),
    "queue object of another exchange": (
        {"queue": Queue("msg", Exchange("media", "direct"), "msg")},
        UntrackedExchange,
    ),
    "queue object with bindings elsewhere": (
        {"queue": Queue("msg", bindings=[Exchange("media", "fanout").binding()])},
        "msg",
    ),
    "direct exchange type": ({"exchange_type": "direct"}, "export"),
    "direct exchange type and queue": (
        {"exchange_type": "direct", "queue": "msg"},
        "msg",
    ),
    "routing key": ({"routing_key": "msg"}, "msg"),
    "routing key and queue": ({"routing_key": "msg", "queue": "celery"}, "msg"),
    "empty routing key": ({"routing_key": ""}, "export"),
    "unknown routing key": ({"routing_key": "msg.late"}, UnknownQueue),
    "pattern as routing key": ({"routing_key": "#"}, UnknownQueue),
    "routing key of another type": ({"routing_key": 5}, UnknownQueue),
    "other exchange": ({"exchange": "media", "routing_key": "msg"}, UntrackedExchange),
    "fanout exchange": (
        {"exchange": Exchange("media", "fanout")},
        UntrackedExchange,
    ),
    "delayed exchange without delay": (
        {"exchange": "celery_delayed_27", "routing_key": "msg"},
        "msg",
    ),
    "unknown queue": ({"queue": "exprot"}, UnknownQueue),
    "unknown queue object": ({"queue": Queue("exprot")}, UnknownQueue),
    "monitor queue": ({"queue": MONITOR}, UnknownQueue),
    "monitor queue by key": ({"exchange": "", "routing_key": MONITOR}, UnknownQueue),
    "empty declare": ({"declare": []}, "export"),
    "empty declare and queue": ({"declare": (), "queue": "msg"}, "msg"),
    "declare of the queue": ({"declare": [Queue("msg")], "queue": "msg"}, "msg"),
    "declare of another queue": ({"declare": [Queue("other")]}, UnknownQueue),
    "declare of another exchange": (
        {"declare": [Exchange("media")]},
        UntrackedExchange,
    ),
}


def _own() -> None: ...


def _by_attributes(**attributes: Any) -> Callable[[Any], Any]:
    """Return a function that sends a task with attributes of its own."""

    def send(app: Any) -> Any:
        return app.task(name="export.own", shared=False, **attributes)(_own).delay()

    return send


def _by_routes(routes: Any) -> Callable[[Celery], Any]:
    """Return a function that sets routes after the configuration and sends a task."""

    def send(app: Celery) -> Any:
        app.conf.task_routes = routes
        return app.send_task("export.note")

    return send


def _by_updated_routes(routes: Any) -> Callable[[Celery], Any]:
    """Return a function that updates routes after the first use of the router."""

    def send(app: Celery) -> Any:
        assert app.amqp.router
        app.conf.update(task_routes=routes)
        return app.send_task("export.note")

    return send


def _by_message(**options: Any) -> Callable[[Celery], Any]:
    """Return a function that sends a message with Celery's own sender."""

    def send(app: Celery) -> Any:
        message = app.amqp.create_task_message("by-message", "export.note", [])
        with app.producer_pool.acquire(block=True) as producer:
            app.amqp.send_task_message(producer, "export.note", message, **options)
        return app.AsyncResult("by-message")

    return send


def _by_producer(exchange: str, routing_key: str) -> Callable[[Celery], Any]:
    """Return a function that sends a task with a producer made by hand."""

    def send(app: Celery) -> Any:
        with app.connection_for_write() as connection:
            producer = Producer(
                connection.default_channel, Exchange(exchange, "direct"), routing_key
            )
            return app.send_task("export.note", producer=producer)

    return send


def _in_a_batch(app: Celery) -> Any:
    with app.connection_for_write() as connection:
        producer: Any = Producer(connection.default_channel)
        with producer.batch():
            return app.send_task("export.note", producer=producer)


def _by_changed_setting(name: str, value: Any) -> Callable[[Celery], Any]:
    def send(app: Celery) -> Any:
        setattr(app.conf, name, value)
        return app.send_task("export.note")

    return send


def _by_alias(app: Celery) -> Any:
    other = Queue("other", Exchange("media"), alias="msg")
    app.amqp.queues.add(other)
    return app.send_task("export.note", queue="msg")


def _by_own_router(app: Celery) -> Any:
    router = PlainRouter([], app.amqp.queues, app=app)
    return app.send_task("export.note", router=router)


def _by_signature(**options: Any) -> Callable[[Celery], Any]:
    return lambda app: app.signature("export.note").set(**options).delay()


#: Other ways, each with the queue that gets the task, or the error.
WAYS: dict[str, tuple[Callable[[Celery], Any], str | type[RoutingError]]] = {
    "attribute queue": (_by_attributes(queue="msg"), "msg"),
    "attribute queue object": (_by_attributes(queue=Queue("msg")), "msg"),
    "attribute routing key": (_by_attributes(routing_key="msg"), "msg"),
    "attribute nameless exchange": (
        _by_attributes(exchange="", routing_key="msg"),
        "msg",
    ),
    "attribute exchange": (
        _by_attributes(exchange="media", routing_key="msg"),
        UntrackedExchange,
    ),
    "routes": (_by_routes({"export.note": {"queue": "msg"}}), "msg"),
    "routes by name": (_by_routes({"export.*": "msg"}), "msg"),
    "routes for other tasks": (_by_routes({"other": "msg"}), "export"),
    "no routes": (_by_routes(None), "export"),
    "routes by key": (_by_routes({"export.*": {"routing_key": "msg"}}), "msg"),
    "routes by nameless exchange": (
        _by_routes({"export.*": {"exchange": "", "routing_key": "msg"}}),
        "msg",
    ),
    "routes by exchange": (
        _by_routes({"export.*": {"exchange": "media", "routing_key": "msg"}}),
        UntrackedExchange,
    ),
    "routes by exchange and unknown key": (
        _by_routes(
            {"export.*": {"exchange": "task_exchange", "routing_key": "export.slow"}}
        ),
        UnknownQueue,
    ),
    "routes by type": (
        _by_routes(
            {"export.*": {"exchange_type": "direct", "routing_key": "msg"}},
        ),
        "msg",
    ),
    "routes to an unknown queue": (_by_routes({"export.*": "exprot"}), UnknownQueue),
    "routes without declarations": (
        _by_routes({"export.*": {"queue": "msg", "declare": []}}),
        "msg",
    ),
    "routes by a function": (_by_routes(lambda *_, **__: {"queue": "msg"}), "msg"),
    "updated routes": (_by_updated_routes({"export.*": "msg"}), "msg"),
    "message": (_by_message(), "export"),
    "message for a queue": (_by_message(queue="msg"), "msg"),
    "message for the nameless exchange": (
        _by_message(exchange="", routing_key="msg"),
        "msg",
    ),
    "message without declarations": (_by_message(queue="msg", declare=[]), "msg"),
    "message for an exchange": (
        _by_message(exchange="media", routing_key="msg"),
        UntrackedExchange,
    ),
    "message for an unknown queue": (_by_message(queue="exprot"), UnknownQueue),
    "producer": (_by_producer("", ""), "export"),
    "producer with an exchange": (_by_producer("media", "msg"), "export"),
    "batch of a producer": (_in_a_batch, "export"),
    "alias of another queue": (_by_alias, UnknownQueue),
    "own router": (_by_own_router, "celery"),
    "signature": (_by_signature(queue="msg"), "msg"),
    "signature with exchange": (_by_signature(exchange="", routing_key="msg"), "msg"),
    "protocol 1": (_by_changed_setting("task_protocol", 1), InvalidSetting),
    "default queue": (_by_changed_setting("task_default_queue", "msg"), InvalidSetting),
    "default exchange": (
        _by_changed_setting("task_default_exchange", "media"),
        InvalidSetting,
    ),
    "queues": (
        _by_changed_setting("task_queues", [Queue("export")]),
        InvalidSetting,
    ),
    "serializer": (_by_changed_setting("task_serializer", "yaml"), InvalidSetting),
}


@pytest.mark.parametrize("queues", BROKERS, indirect=True)
def test_a_task_with_any_option_is_copied_or_refused(queues: QueueContents) -> None:
    found = {
        way: outcome(queues, lambda app: app.send_task("export.note", **options))  # noqa: B023
        for way, (options, _) in OPTIONS.items()
    }

    assert found == {way: expected for way, (_, expected) in OPTIONS.items()}


@pytest.mark.parametrize("queues", BROKERS, indirect=True)
def test_a_task_sent_in_any_way_is_copied_or_refused(queues: QueueContents) -> None:
    found = {way: outcome(queues, send) for way, (send, _) in WAYS.items()}

    assert found == {way: expected for way, (_, expected) in WAYS.items()}


@pytest.mark.parametrize("queues", ["rabbitmq"], indirect=True)
def test_a_delayed_task_with_any_option_is_copied_or_refused(
    queues: QueueContents,
) -> None:
    found = {}
    for way, (options, _) in OPTIONS.items():
        found[way] = delayed_outcome(queues, options)

    assert found == {way: expected for way, (_, expected) in OPTIONS.items()}


def delayed_outcome(
    queues: QueueContents, options: dict[str, Any]
) -> str | type[Exception]:
    """Send one task with an ETA through the delays of quorum queues.

    Returns:
        The queue that the task is for, according to its copy, or the error.
    """
    with routing_app(queues, queue_type="quorum") as app:
        with app.connection_for_read() as connection:
            monitor = app.amqp.queues[MONITOR](connection.default_channel)
            monitor.declare()
            try:
                id = app.send_task("export.note", countdown=3600, **options).id
            except Exception as error:
                assert monitor.get() is None
                return type(error)
            message: Any = monitor.get(no_ack=True)

            assert message.headers["id"] == id
            assert message.headers["eta"] is not None
            return without_delay(message.delivery_info["routing_key"])


def outcome(
    queues: QueueContents, send: Callable[[Celery], Any]
) -> str | type[Exception]:
    """Send one task, and return the queue that gets it, or the error.

    The monitor queue must have gained the same id, or nothing.
    """
    with routing_app(queues) as app:
        try:
            id = send(app).id
        except Exception as error:
            id, refused = None, type(error)
    options = {"wait_time_seconds": 0}  # Amazon SQS would wait for messages.
    with (
        routing_app(queues, broker_transport_options=options) as app,
        app.connection_for_read() as connection,
    ):
        found = {queue.name: drain(queue, connection) for queue in app.conf.task_queues}
    expected = [] if id is None else [id]
    if found.pop(MONITOR) != expected:
        return "not copied"
    receivers = [name for name, ids in found.items() if ids == expected]
    if id is None:
        return refused if not any(found.values()) else "refused but sent"
    return " ".join(receivers) or "lost"


def drain(queue: Queue, connection: Connection) -> list[str]:
    """Remove the messages of a queue, and return the ids of their tasks."""
    bound = queue(connection.default_channel)
    bound.declare()
    messages = list(iter(bound.get, None))
    for message in messages:
        message.ack()
    return [message.headers["id"] for message in messages]
