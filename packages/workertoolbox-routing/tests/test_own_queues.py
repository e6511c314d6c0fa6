from __future__ import annotations

import pickle
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.utils.nodenames import worker_direct
from kombu import Exchange, Queue, binding
from kombu.common import Broadcast

from cadasta.workertoolbox.routing import (
    InvalidQueues,
    Routing,
    UnknownQueue,
    UntrackedExchange,
    bindings_of,
)

MEDIA = Exchange("media", type="topic")
NEWS = Exchange("news", type="fanout")
ORDERS = Exchange("orders", type="direct")

QUEUES: list[str | Queue] = [
    "export",
    Queue("video", MEDIA, "media.video.#"),
    Queue("all.media", MEDIA, "media.#"),
    Queue("mail", NEWS),
    Queue("push", NEWS),
    Queue("paid", ORDERS, "order.paid", queue_arguments={"x-max-priority": 9}),
    Queue("plain", queue_arguments={"x-dead-letter-exchange": "dead"}),
    Queue("dead", Exchange("dead", type="topic"), "#"),
    Queue("waiting", queue_arguments={"x-dead-letter-exchange": "of.operators"}),
]


@pytest.fixture
def app() -> Iterator[Celery]:
    app = app_with(QUEUES)
    for queue in app.amqp.queues:
        received(app, queue)  # what other tests have left
    yield app
    app.close()


def app_with(queues: Any, **settings: Any) -> Celery:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(Routing(queues, broker_url="memory://", **settings))
    return app


def received(app: Celery, queue: str) -> list[Any]:
    with app.connection_for_read() as connection:
        bound = app.amqp.queues[queue](connection.default_channel)
        return list(iter(bound.get, None))


def bound_queue(name: str, exchange: Exchange, key: str = "") -> Queue:
    return Queue(name, bindings=[binding(exchange, key)])


def bound(queue: Queue) -> set[tuple[str, str]]:
    return {(each.exchange.name, each.routing_key) for each in bindings_of(queue)}


def test_queues_keep_their_bindings_and_are_bound_to_the_task_exchange() -> None:
    queues = {
        queue.name: queue
        for queue in Routing(QUEUES, broker_url="amqp://")["task_queues"]
    }

    assert bound(queues["video"]) == {
        ("media", "media.video.#"),
        ("task_exchange", "video"),
    }
    assert bound(queues["plain"]) == {("task_exchange", "plain")}
    assert queues["paid"].queue_arguments == {"x-max-priority": 9}


def test_the_monitor_queue_is_bound_to_what_tasks_are_published_to() -> None:
    *_, monitor = Routing(QUEUES, broker_url="amqp://").task_queues

    assert bound(monitor) == {
        ("task_exchange", "#"),
        ("media", "#"),
        ("news", ""),
        ("orders", "order.paid"),
    }


@pytest.mark.parametrize("copy", [deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_of_the_settings_has_the_same_bindings(copy: Any) -> None:
    settings = Routing(QUEUES, broker_url="amqp://")

    for queue, copied in zip(
        settings.task_queues, copy(settings).task_queues, strict=True
    ):
        assert (type(copied), bound(copied)) == (type(queue), bound(queue))
        assert bound(copied(None)) == bound(queue)
    assert copy(settings) == settings


@pytest.mark.parametrize(
    "other",
    [
        Queue("video", bindings=[binding(MEDIA, "a")]),
        Queue("video", bindings=[binding(MEDIA, "b", {"x-match": "all"})]),
        Queue("video"),
    ],
)
def test_settings_whose_queues_have_other_bindings_are_not_equal(other: Queue) -> None:
    one = Routing([Queue("video", bindings=[binding(MEDIA, "b")])])

    assert one != Routing([other])
    assert one == Routing([Queue("video", bindings=[binding(MEDIA, "b")])])


@pytest.mark.parametrize(
    ("options", "queues"),
    [
        ({}, ["celery"]),
        ({"queue": "export"}, ["export"]),
        ({"queue": "paid"}, ["paid"]),
        ({"exchange": "orders", "routing_key": "order.paid"}, ["paid"]),
        ({"queue": "plain"}, ["plain"]),
        ({"queue": "plain", "routing_key": "ignored.by.celery"}, ["plain"]),
        ({"queue": "mail"}, ["mail", "push"]),
        ({"exchange": "news"}, ["mail", "push"]),
        ({"exchange": NEWS, "routing_key": "any"}, ["mail", "push"]),
        ({"queue": "all.media", "routing_key": "media.audio"}, ["all.media"]),
        (
            {"exchange": "media", "routing_key": "media.video.hd"},
            ["all.media", "video"],
        ),
        ({"exchange": "", "routing_key": "video"}, ["video"]),
        ({"queue": "dead"}, ["dead"]),
        ({"exchange": "dead", "routing_key": "plain"}, ["dead"]),
        ({"exchange": "of.operators", "routing_key": "plain"}, ["plain"]),
    ],
)
def test_a_task_reaches_its_queues_and_is_copied_once(
    app: Celery, options: dict[str, Any], queues: list[str]
) -> None:
    id = app.send_task("reports.build", **options).id
    found = {
        name: [message.headers["id"] for message in received(app, name)]
        for name in app.amqp.queues
    }

    assert found.pop("platform.fifo") == [id]
    assert {name: ids for name, ids in found.items() if ids} == {
        name: [id] for name in queues
    }


def test_a_copy_names_the_queue_if_the_routing_key_does_not(app: Celery) -> None:
    app.send_task("a", exchange="media", routing_key="media.audio")
    app.send_task("a", queue="paid", headers={"workertoolbox_queue": "forged"})
    named = [
        message.headers.get("workertoolbox_queue")
        for message in received(app, "platform.fifo")
    ]

    assert named == ["all.media", None]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"exchange": "media", "routing_key": "audio"}, UnknownQueue),
        ({"queue": "video", "routing_key": "audio"}, UnknownQueue),
        ({"exchange": "orders", "routing_key": "order.sent"}, UnknownQueue),
        ({"queue": "export", "routing_key": "audio"}, UnknownQueue),
        (
            {"queue": "plain", "exchange": "task_exchange", "routing_key": "audio"},
            UnknownQueue,
        ),
        ({"exchange": "other", "routing_key": "video"}, UntrackedExchange),
        ({"queue": Queue("video", Exchange("other"))}, UntrackedExchange),
    ],
)
def test_a_task_that_would_reach_no_declared_queue_is_an_error_at_the_caller(
    app: Celery, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        app.send_task("reports.build", **options)
    assert received(app, "platform.fifo") == []


@pytest.mark.parametrize(
    "options",
    [
        {"queue": worker_direct("one@host")},
        {"queue": "one@host.dq2"},
        {"exchange": "C.dq2", "routing_key": "one@host"},
    ],
)
def test_a_task_for_one_worker_is_copied(options: dict[str, Any]) -> None:
    app = app_with([worker_direct("one@host")])
    received(app, "platform.fifo")  # what other tests have left
    id = app.send_task("reports.build", **options).id

    for name in ("one@host.dq2", "platform.fifo"):
        assert [message.headers["id"] for message in received(app, name)] == [id]


def test_an_exchange_of_dead_letters_and_tasks_sends_each_task_to_all_its_queues() -> (
    None
):
    work = Exchange("again", type="topic")
    waiting = Queue("wait", queue_arguments={"x-dead-letter-exchange": work.name})
    app = app_with([Queue("first", work, "x.#"), Queue("second", work, "#"), waiting])
    id = app.send_task("a", exchange="again", routing_key="x.1").id

    for name in ("first", "second", "platform.fifo"):
        assert [message.headers["id"] for message in received(app, name)] == [id]


def test_a_queue_object_gets_no_tasks_by_their_names(app: Celery) -> None:
    route = app.amqp.router.route({}, "video.encode", (), {})

    assert route["queue"].name == "celery"


def test_a_task_returns_to_the_queue_that_it_was_read_from(app: Celery) -> None:
    id = app.send_task("reports.build", queue="mail").id
    with app.connection_for_read() as connection:
        for name in ("mail", "platform.fifo"):
            queue = app.amqp.queues[name](connection.default_channel)
            queue.declare()
            message: Any = queue.get()
            message.requeue()
    for name in ("mail", "push", "platform.fifo"):
        assert [message.headers["id"] for message in received(app, name)] == [id]


def test_the_users_own_default_destination_is_kept() -> None:
    app = app_with(
        ["export", Queue("video")],
        task_default_queue="default",
        task_default_exchange="tasks",
        task_default_exchange_type="topic",
        task_default_routing_key="task.default",
    )
    queues = app.amqp.queues
    id = app.send_task("reports.build").id

    assert app.conf.task_default_exchange == "tasks"
    assert bound(queues["default"]) == {
        ("tasks", "task.default"),
        ("task_exchange", "default"),
    }
    assert ("tasks", "task.default") in bound(queues["video"])
    assert "celery" not in queues
    for name in ("default", "video", "platform.fifo"):
        assert [message.headers["id"] for message in received(app, name)] == [id]


@pytest.mark.parametrize(
    ("name", "options", "queue", "key"),
    [
        ("other", {"routing_key": "feed.a"}, "feed", "feed.a"),
        ("feed.read", {}, "feed", "feed.import"),
        ("feed.read", {"routing_key": "feed.a"}, "feed", "feed.a"),
        ("other", {"queue": "urgent", "routing_key": "default"}, "urgent", None),
        ("other", {"queue": "late", "exchange": "orders"}, "late", None),
        ("other", {"routing_key": "urgent"}, "urgent", None),
    ],
)
def test_a_routing_key_means_what_it_means_in_celery(
    name: str, options: dict[str, Any], queue: str, key: str | None
) -> None:
    app = app_with(
        [
            Queue("default", routing_key="task.#"),
            Queue("feed", routing_key="feed.#"),
            Queue("urgent", ORDERS, "default"),
            Queue("late", ORDERS, "default"),
        ],
        task_default_queue="default",
        task_default_exchange="tasks",
        task_default_exchange_type="topic",
        task_routes={"feed.*": {"queue": "feed", "routing_key": "feed.import"}},
    )
    route = app.amqp.router.route(options, name, (), {})

    assert (route["queue"].name, route.get("routing_key")) == (queue, key)


def test_another_default_queue_takes_the_place_of_celerys() -> None:
    app = app_with(["export"], task_default_queue="default")
    id = app.send_task("reports.build").id

    assert list(app.amqp.queues) == ["default", "export", "platform.fifo"]
    for name in ("default", "platform.fifo"):
        assert [message.headers["id"] for message in received(app, name)] == [id]


def test_two_apps_with_other_bindings_of_the_same_queues_share_a_connection() -> None:
    name, ids = f"q{uuid4().hex}", []
    exchanges = [Exchange(f"{name}.{n}", type="fanout") for n in range(2)]
    apps = [
        app_with([bound_queue(name, exchange)], task_default_queue=name)
        for exchange in exchanges
    ]
    with apps[0].connection_for_write() as connection:
        for app, exchange in zip(apps, exchanges, strict=True):
            sent = app.send_task("a", exchange=exchange.name, connection=connection)
            ids.append(sent.id)
    found = [message.headers["id"] for message in received(apps[0], name)]

    assert found == ids


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        (Broadcast("news"), "'news' is a Broadcast"),
        (
            Queue("a", Exchange("late", type="x-delayed-message")),
            "'a' is bound to 'late' of type 'x-delayed-message'.*countdown",
        ),
        (Queue("a", no_declare=True), "'a' has no_declare=True"),
        (Queue("a", exclusive=True), "'a' has exclusive=True"),
        (Queue("a", Exchange("task_exchange"), "#"), "'a' is bound to 'task_exchange'"),
        (bound_queue("a", Exchange("task_exchange"), "b"), "by 'b'"),
        (
            Queue("a", queue_arguments={"x-dead-letter-exchange": "task_exchange"}),
            "'a' has the dead-letter exchange 'task_exchange'",
        ),
        (Queue(""), "''"),
        (Queue("a.*"), r"'a\.\*'"),
        (Queue("amq.a"), "amq"),
        (Queue("a/b"), "a/b"),
        (Queue("x" * 256), "255 bytes"),
        (Queue("export"), "'export' is listed 2 times"),
        (Queue("platform.fifo"), "the task monitor's own"),
    ],
)
def test_a_queue_object_that_would_lose_or_double_tasks_is_refused(
    queue: Queue, said: str
) -> None:
    with pytest.raises(InvalidQueues, match=said):
        Routing(["export", queue], broker_url="amqp://")


@pytest.mark.parametrize("url", ["sqs://", "amqp://;sqs://", None])
def test_names_follow_the_rules_of_sqs_where_the_broker_may_be_sqs(
    url: str | None,
) -> None:
    settings = {"broker_url": url} if url else {}

    for queue in ("a.b", Queue("a.b")):
        with pytest.raises(InvalidQueues, match="'a.b' is not a queue name that SQS"):
            Routing([queue], **settings)
        assert Routing([queue], broker_url="redis://").QUEUES == ("a.b",)


def test_the_monitor_queue_may_have_arguments() -> None:
    monitor = Queue("copies", queue_arguments={"x-queue-type": "quorum"}, max_length=9)
    settings = Routing(["a.b"], broker_url="amqp://", PLATFORM_QUEUE_NAME=monitor)
    *_, declared = settings.task_queues

    assert settings.PLATFORM_QUEUE_NAME == declared.name == "copies"
    assert declared.queue_arguments == {"x-queue-type": "quorum"}
    assert declared.max_length == 9
    assert bound(declared) == {("task_exchange", "#"), ("celery_delayed_27", "#")}


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        (Queue("copies", auto_delete=True), "auto_delete=True"),
        (Queue("copies", MEDIA, "#"), "the monitor queue 'copies' has an exchange"),
        (Queue("export"), "'export' is the task monitor's own"),
    ],
)
def test_a_monitor_queue_that_would_lose_copies_is_refused(
    queue: Queue, said: str
) -> None:
    with pytest.raises(InvalidQueues, match=said):
        Routing(["export"], broker_url="amqp://", PLATFORM_QUEUE_NAME=queue)
