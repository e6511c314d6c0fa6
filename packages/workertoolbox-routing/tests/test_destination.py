"""Which queue, exchange and routing key the options of a task name."""

from __future__ import annotations

from typing import Any

import pytest
from kombu import Exchange, Queue

from cadasta.workertoolbox.routing import Routing, UnknownQueue, UntrackedExchange
from cadasta.workertoolbox.routing._declaration import Declaration
from cadasta.workertoolbox.routing._destination import (
    Destination,
    Destinations,
    is_delayed,
)

MEDIA = Exchange("media", type="topic")
NEWS = Exchange("news", type="fanout")
ORDERS = Exchange("orders", type="direct")
WORDS = Exchange("words", type="topic")

QUEUES: list[str | Queue] = [
    "export",
    "export2",
    Queue("waiting", queue_arguments={"x-dead-letter-exchange": "dead"}),
    Queue("dead", Exchange("dead", type="topic"), "#"),
    Queue("video", MEDIA, "media.video.#"),
    Queue("all.media", MEDIA, "media.#"),
    Queue("mail", NEWS, "news.key"),
    Queue("push", NEWS),
    Queue("paid", ORDERS, "order.paid"),
    Queue("one", WORDS, "a.*.c"),
    Queue("two", WORDS, "x.#.z"),
    Queue("three", WORDS, "q.#"),
]

#: The exchange of RabbitMQ's delays to which Celery publishes, and a delay in a key.
DELAYED, DELAY = "celery_delayed_27", "0." * 27 + "1."


@pytest.fixture
def destinations() -> Destinations:
    return Destinations(tuple(Routing(QUEUES, broker_url="amqp://").task_queues))


def found(destinations: Destinations, **options: Any) -> tuple[str, str, str]:
    """Return the queue, the exchange and the key of a destination."""
    destination = destinations.find(options, "export.fetch")
    assert destination is not None
    return destination.queue.name, destination.exchange.name, destination.routing_key


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"queue": "export"}, ("export", "task_exchange", "export")),
        ({"routing_key": "paid"}, ("paid", "task_exchange", "paid")),
        ({"queue": "paid"}, ("paid", "task_exchange", "paid")),
        ({"queue": "video"}, ("video", "media", "media.video.#")),
        ({"queue": "mail"}, ("mail", "news", "news.key")),
        ({"queue": "video", "exchange": ""}, ("video", "media", "media.video.#")),
        ({"exchange": "", "routing_key": "video"}, ("video", "task_exchange", "video")),
        (
            {"exchange": DELAYED, "routing_key": f"{DELAY}video"},
            ("video", "task_exchange", "video"),
        ),
        (
            {"queue": "all.media", "routing_key": "media.video.hd"},
            ("all.media", "media", "media.video.hd"),
        ),
        (
            {"queue": "video", "routing_key": "media.audio"},
            ("all.media", "media", "media.audio"),
        ),
        (
            {"queue": "video", "routing_key": "video"},
            ("video", "task_exchange", "video"),
        ),
        ({"queue": "paid", "routing_key": "any"}, ("paid", "task_exchange", "paid")),
        (
            {"exchange": "media", "routing_key": "media.video.hd"},
            ("video", "media", "media.video.hd"),
        ),
        (
            {
                "exchange": "media",
                "routing_key": "media.video.hd",
                "queue": "all.media",
            },
            ("all.media", "media", "media.video.hd"),
        ),
        (
            {"exchange": "media", "routing_key": "media.audio", "queue": "export"},
            ("all.media", "media", "media.audio"),
        ),
        (
            {"exchange": MEDIA, "queue": "all.media"},
            ("all.media", "media", "media.#"),
        ),
        ({"queue": "dead"}, ("dead", "task_exchange", "dead")),
        (
            {"exchange": "dead", "routing_key": "waiting"},
            ("dead", "task_exchange", "dead"),
        ),
        ({"exchange": "news"}, ("mail", "news", "news.key")),
        ({"exchange": "news", "queue": "push"}, ("push", "news", "celery")),
        ({"exchange": NEWS, "routing_key": "any"}, ("mail", "news", "any")),
        ({"exchange": "orders", "queue": "paid"}, ("paid", "task_exchange", "paid")),
        (
            {"exchange": "orders", "routing_key": "order.paid"},
            ("paid", "orders", "order.paid"),
        ),
    ],
)
def test_options_name_a_queue_an_exchange_and_a_key(
    destinations: Destinations, options: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert found(destinations, **options) == expected


@pytest.mark.parametrize("options", [{}, {"exchange": ""}, {"routing_key": None}])
def test_options_may_name_no_destination(
    destinations: Destinations, options: dict[str, Any]
) -> None:
    assert destinations.find(options, "export.fetch") is None


def test_a_queue_as_a_router_names_it_is_named_by_the_task_exchange(
    destinations: Destinations,
) -> None:
    by_queue = destinations.find({"queue": "video"}, "export.fetch")
    by_key = destinations.find({"routing_key": "video"}, "export.fetch")
    assert by_queue is not None and by_key is not None

    by_exchange = destinations.find(
        {"exchange": "media", "routing_key": "media.video.hd"}, "export.fetch"
    )
    assert by_exchange is not None

    assert found(destinations, **by_exchange.route) == (
        *("video", "media", "media.video.hd"),
    )
    assert found(destinations, **by_queue.route) == ("video", "media", "media.video.#")
    assert found(destinations, **by_key.route) == ("video", "task_exchange", "video")


@pytest.mark.parametrize(
    ("key", "queue"),
    [
        ("a.b.c", "one"),
        ("a.c", None),
        ("a.b.b.c", None),
        ("a.b.c.d", None),
        ("x.z", "two"),
        ("x.1.2.z", "two"),
        ("x.1", None),
        ("x", None),
        ("q", "three"),
        ("q.1.2", "three"),
        ("r", None),
    ],
)
def test_a_topic_exchange_matches_words_as_amqp_does(
    destinations: Destinations, key: str, queue: str | None
) -> None:
    if queue is None:
        with pytest.raises(UnknownQueue) as caught:
            found(destinations, exchange="words", routing_key=key)
        assert (caught.value.name, caught.value.nearest) == (key, None)
    else:
        assert found(destinations, exchange="words", routing_key=key) == (
            *(queue, "words", key),
        )


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"queue": "nothing"}, "nothing"),
        ({"queue": 5}, "5"),
        ({"routing_key": "nothing"}, "nothing"),
        ({"exchange": "orders", "routing_key": "nothing"}, "nothing"),
        ({"exchange": "orders"}, "orders"),
        ({"declare": [Queue("nothing")]}, "nothing"),
    ],
)
def test_a_queue_that_is_not_declared_is_named(
    destinations: Destinations, options: dict[str, Any], name: str
) -> None:
    with pytest.raises(UnknownQueue) as caught:
        destinations.find(options, "export.fetch")

    assert caught.value.name == name


def test_the_nearest_name_of_a_queue_is_suggested(destinations: Destinations) -> None:
    with pytest.raises(UnknownQueue) as caught:
        destinations.find({"queue": "exprot"}, "export.fetch")

    assert caught.value.args == ("exprot", "export")


@pytest.mark.parametrize(
    "options",
    [
        {"exchange": "other"},
        {"exchange": Exchange("other")},
        {"queue": Queue("export", Exchange("other"))},
        {"declare": [MEDIA, Exchange("other")]},
        {"declare": [Queue("export", Exchange("other"))]},
    ],
)
def test_an_exchange_that_is_not_declared_is_named_with_the_task(
    destinations: Destinations, options: dict[str, Any]
) -> None:
    with pytest.raises(UntrackedExchange) as caught:
        destinations.find(options, "export.fetch")

    assert caught.value.args == ("other", "export.fetch")


def test_a_message_may_declare_what_is_declared(destinations: Destinations) -> None:
    declare = [MEDIA, Queue("video", MEDIA), "export", Declaration()]

    assert found(destinations, queue="paid", declare=declare)[0] == "paid"


def options_of(destination: Destination | None) -> tuple[Any, dict[str, Any]]:
    """Return the queue, and the other options of a publish."""
    assert destination is not None
    options = dict(destination.options)
    queue = options.pop("queue")
    return (queue.name, queue.exchange.name, queue.routing_key), options


def test_a_task_is_published_to_its_exchange_with_a_queue_that_is_bound_to_it(
    destinations: Destinations,
) -> None:
    given = {"queue": "all.media", "routing_key": "media.audio"}
    queue, options = options_of(destinations.find(given, "export.fetch"))

    assert queue == ("all.media", "media", "media.audio")
    assert options == {
        "exchange": "media",
        "routing_key": "media.audio",
        "exchange_type": "topic",
    }


def test_a_queue_of_the_task_exchange_is_published_to_by_its_name(
    destinations: Destinations,
) -> None:
    own = destinations.find({"queue": "export"}, "export.fetch")
    other = destinations.find({"queue": "paid"}, "export.fetch")

    assert own is not None and own.options == {"queue": destinations.queues["export"]}
    assert options_of(other) == (
        ("paid", "task_exchange", "paid"),
        {
            "exchange": "task_exchange",
            "routing_key": "paid",
            "exchange_type": "topic",
        },
    )


@pytest.mark.parametrize(
    ("exchange", "key", "expected"),
    [
        (DELAYED, f"{DELAY}video", True),
        (Exchange(DELAYED), f"{DELAY}video", True),
        (DELAYED, "video", False),
        (DELAYED, None, False),
        ("task_exchange", f"{DELAY}video", False),
        (None, f"{DELAY}video", False),
    ],
)
def test_a_task_is_delayed_if_its_exchange_and_its_key_say_so(
    exchange: Any, key: Any, expected: bool
) -> None:
    assert is_delayed({"exchange": exchange, "routing_key": key}) is expected
