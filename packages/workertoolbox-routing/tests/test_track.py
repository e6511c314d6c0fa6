from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from kombu import Exchange, Queue

from cadasta.workertoolbox.routing import (
    InvalidSetting,
    UnknownQueue,
    bindings_of,
    track,
)

MEDIA = Exchange("media", type="topic")


@pytest.fixture
def monitor() -> str:
    return f"monitor-{uuid4().hex}"


def received(app: Celery, queue: str) -> Iterator[str]:
    with app.connection_for_read() as connection:
        bound = app.amqp.queues[queue](connection.default_channel)
        for message in iter(bound.get, None):
            yield message.headers["id"]


def settings_of_fleet(**settings: Any) -> dict[str, Any]:
    return {
        "broker_url": "memory://",
        "result_backend": "cache+memory://",
        "task_queues": [Queue("video.new", MEDIA, "media.#"), Queue("mail")],
        "task_routes": {"reports.*": {"queue": "reports"}, "mail.*": "mail"},
        **settings,
    }


def by_object(settings: dict[str, Any]) -> Celery:
    app = Celery("fleet", set_as_current=False)
    app.config_from_object(SimpleNamespace(**settings))
    return app


def by_namespace(settings: dict[str, Any]) -> Celery:
    app = Celery("fleet", set_as_current=False)
    upper = {f"CELERY_{name.upper()}": value for name, value in settings.items()}
    app.config_from_object(SimpleNamespace(**upper), namespace="CELERY")
    return app


def by_update(settings: dict[str, Any]) -> Celery:
    app = Celery("fleet", set_as_current=False)
    app.conf.update(settings)
    assert app.amqp.queues  # Made before the app is tracked.
    return app


@pytest.mark.parametrize("configure", [by_object, by_namespace, by_update])
def test_an_app_is_tracked_however_it_was_configured(
    configure: Any, monitor: str
) -> None:
    app = configure(settings_of_fleet())
    track(app, ["extra"], PLATFORM_QUEUE_NAME=monitor)
    sent = {
        name: app.send_task(task, **options).id
        for name, task, options in [
            ("celery", "other", {}),
            ("reports", "reports.day", {"routing_key": "ignored.by.celery"}),
            ("mail", "mail.send", {}),
            ("extra", "mail.send", {"queue": "extra"}),
            ("video.new", "v", {"exchange": "media", "routing_key": "media.a"}),
        ]
    }

    assert [*received(app, monitor)] == [*sent.values()]
    for name, id in sent.items():
        assert id in [*received(app, name)]
    assert app.conf.result_backend == "cache+memory://"
    assert app.conf.task_default_queue == "celery"
    assert "queue_name_prefix" not in app.conf.broker_transport_options
    with pytest.raises(UnknownQueue):
        app.send_task("other", queue="typo")


@pytest.mark.filterwarnings("ignore:You're running the worker with superuser")
@pytest.mark.parametrize("declared", [None, [Queue("mail")]])
@pytest.mark.parametrize("selected", [(), ("reports", "extra")])
def test_a_worker_consumes_the_queues_that_it_consumed_before(
    monitor: str, declared: Any, selected: tuple[str, ...]
) -> None:
    settings = settings_of_fleet(task_queues=declared)
    before, app = by_object(settings), by_object(settings)
    track(app, ["extra"], PLATFORM_QUEUE_NAME=monitor)
    for each in (before, app):
        each.Worker(queues=selected, pool="solo")

    assert app.amqp.queues.consume_from.keys() == before.amqp.queues.consume_from.keys()


@pytest.mark.parametrize(
    ("result_backend", "elsewhere"),
    [
        ("redis://:secret@host/0", "redis"),
        ("sentinel://a:1;sentinel://b:2", "sentinel"),
        ("rpc", "rpc"),
        ("django-db", "django-db"),
        (None, "disabled"),
        ("workertoolbox+postgresql+psycopg2://host/db", None),
        ("db+postgresql+psycopg2://host/db", None),
        ("shop.results:Backend", None),
    ],
)
def test_a_message_says_whether_results_are_stored_elsewhere(
    result_backend: str | None, elsewhere: str | None, monitor: str
) -> None:
    app = by_object(settings_of_fleet(result_backend=result_backend))
    track(app, PLATFORM_QUEUE_NAME=monitor)
    earlier = {"workertoolbox_results_elsewhere": "of an earlier sender"}
    app.amqp.send_task_message(
        app.amqp.producer_pool.acquire(),
        "other",
        app.amqp.as_task_v2("1", "other", retries=1),
        headers=earlier,
    )
    with app.connection_for_read() as connection:
        bound = app.amqp.queues[monitor](connection.default_channel)
        message = bound.get()

    assert message is not None
    assert message.headers.get("workertoolbox_results_elsewhere") == elsewhere


def test_tracking_an_app_again_changes_nothing(monitor: str) -> None:
    app = by_object(settings_of_fleet())
    track(app, PLATFORM_QUEUE_NAME=monitor)
    before = dict(app.conf)
    track(app)

    assert dict(app.conf) == before


def test_the_transport_options_of_an_app_are_kept(monitor: str) -> None:
    options = {"region": "eu-west-1", "queue_name_prefix": "shop-"}
    app = by_object(
        settings_of_fleet(
            broker_url="sqs://", broker_transport_options=options, task_queues=None
        )
    )
    track(app, PLATFORM_QUEUE_NAME=monitor)

    assert options.items() <= app.conf.broker_transport_options.items()


def test_queues_given_as_a_dictionary_are_those_that_celery_declares(
    monitor: str,
) -> None:
    queue = {"exchange": "media", "exchange_type": "topic", "binding_key": "media.#"}
    app = by_object(settings_of_fleet(task_queues={"video": queue}))
    track(app, PLATFORM_QUEUE_NAME=monitor)
    [own, by_name] = bindings_of(app.amqp.queues["video"])

    assert (own.exchange.name, own.exchange.type) == ("media", "topic")
    assert own.routing_key == "media.#"
    assert (by_name.exchange.name, by_name.routing_key) == ("task_exchange", "video")


def test_routes_of_every_form_name_their_queues(monitor: str) -> None:
    def route(name: str, *_: Any, **__: Any) -> None: ...

    app = by_object(
        settings_of_fleet(
            task_routes=(
                route,
                "package.module.route",
                {"a": Queue("by.object"), "b": {"routing_key": "mail"}},
                [("c.*", {"queue": "by.pairs"})],
            )
        )
    )
    track(app, PLATFORM_QUEUE_NAME=monitor)

    assert {"by.object", "by.pairs"} < app.amqp.queues.keys()


def test_beats_entries_name_their_queues(monitor: str) -> None:
    entries = {
        "nightly": {"task": "a", "schedule": 60, "options": {"queue": "night"}},
        "hourly": {"task": "b", "schedule": 60},
    }
    app = by_object(settings_of_fleet(beat_schedule=entries))
    track(app, PLATFORM_QUEUE_NAME=monitor)

    assert "night" in app.amqp.queues


def test_an_app_that_pickles_is_refused(monitor: str) -> None:
    app = by_object(settings_of_fleet(task_serializer="pickle"))

    with pytest.raises(InvalidSetting, match="task_serializer='pickle'"):
        track(app, PLATFORM_QUEUE_NAME=monitor)
