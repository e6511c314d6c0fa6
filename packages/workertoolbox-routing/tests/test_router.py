from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue

from cadasta.workertoolbox.routing import (
    NotJSON,
    Routing,
    UnknownPrefix,
    UnknownQueue,
    UntrackedExchange,
)
from cadasta.workertoolbox.routing._similar_queue import find_similar_queue


def app_with(**settings: Any) -> Celery:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(
        Routing(["export", "msg"], broker_url="memory://", **settings)
    )
    return app


def queue_of(app: Celery, name: str, **options: Any) -> str:
    route = app.amqp.router.route(options, name, (), {})
    return str(route["queue"].name)


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("export.project", "export"),
        ("msg.notify.late", "msg"),
        ("export", "celery"),
        ("other.task", "celery"),
        ("celery.chord_unlock", "celery"),
        ("platform.fifo", "celery"),
        ("exports.project", "celery"),
        (".export", "celery"),
    ],
)
def test_the_name_before_the_first_dot_picks_the_queue(task: str, queue: str) -> None:
    assert queue_of(app_with(), task) == queue


def test_a_fifo_queue_is_picked_by_its_name_without_the_suffix() -> None:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(Routing(["export.fifo", "msg", "msg.fifo"]))

    assert queue_of(app, "export.project") == "export.fifo"
    assert queue_of(app, "msg.notify") == "msg"


def test_a_queue_named_by_the_caller_wins() -> None:
    assert queue_of(app_with(), "export.project", queue="msg") == "msg"


def test_the_users_own_routes_come_first() -> None:
    app = app_with(task_routes={"export.slow.*": "msg", "other": {"queue": "msg"}})

    assert queue_of(app, "export.slow.one") == "msg"
    assert queue_of(app, "other") == "msg"
    assert queue_of(app, "export.project") == "export"


@pytest.mark.parametrize(
    "options",
    [
        {"queue": "exprot"},
        {"queue": Queue("exprot", Exchange("exprot"))},
        {"routing_key": "exprot"},
        {"exchange": "task_exchange", "routing_key": "exprot"},
        {"exchange": "", "routing_key": "exprot"},
    ],
)
def test_an_undeclared_queue_is_an_error_at_the_caller(
    options: dict[str, Any],
) -> None:
    app = app_with()

    for _ in range(2):
        with pytest.raises(UnknownQueue, match="'exprot'.*mean 'export'"):
            app.send_task("export.project", **options)


def test_a_route_to_an_undeclared_queue_is_an_error_at_the_caller() -> None:
    with pytest.raises(UnknownQueue, match="'mgs'.*mean 'msg'"):
        app_with(task_routes=lambda *_, **__: "mgs").send_task("other")


def test_no_queue_is_suggested_if_none_has_a_similar_name() -> None:
    with pytest.raises(UnknownQueue) as caught:
        app_with().send_task("export.project", queue="zzz")

    assert caught.value.nearest is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("shop.invoices", None),
        ("shop.mial", "shop.mail"),
        ("shp.mail", "shop.mail"),
        ("shop.reports", "shop.report.daily"),
        ("shop.reports.daily", "shop.report.daily"),
    ],
)
def test_a_common_beginning_does_not_make_names_of_queues_similar(
    name: str, nearest: str | None
) -> None:
    declared = ["celery", "shop.orders", "shop.mail", "shop.report.daily"]

    assert find_similar_queue(name, declared) == nearest
    assert find_similar_queue(name, []) is None


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ("mail.send", r"'mail\.send' has the prefix 'mail'.*add it to queues="),
        ("exprot.project", "did you mean 'export'.*UNKNOWN_PREFIX"),
        (".export", "prefix ''"),
        ("Export.project", "did you mean 'export'"),
    ],
)
def test_a_task_with_an_unknown_prefix_can_be_refused(task: str, problem: str) -> None:
    app = app_with(UNKNOWN_PREFIX="refuse")

    with pytest.raises(UnknownPrefix, match=problem):
        app.send_task(task)
    assert queue_of(app, task, queue="msg") == "msg"
    app.conf.update(task_routes={"other": "export"})
    with pytest.raises(UnknownPrefix):
        app.send_task(task)


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("export.project", "export"),
        ("celery.chord_unlock", "celery"),
        ("project", "celery"),
        ("mail.routed", "msg"),
    ],
)
def test_other_tasks_are_not_refused(task: str, queue: str) -> None:
    app = app_with(UNKNOWN_PREFIX="refuse", task_routes={"mail.routed": "msg"})

    assert queue_of(app, task) == queue


def test_a_task_for_the_monitor_queue_is_refused() -> None:
    with pytest.raises(UnknownQueue, match="'platform.fifo'"):
        app_with().send_task("export.project", queue="platform.fifo")


def test_an_exchange_without_copies_is_refused() -> None:
    app = app_with(task_routes={"export.*": {"exchange": "media", "routing_key": "x"}})

    with pytest.raises(UntrackedExchange, match="'export.project'.*'media'"):
        app.send_task("export.project")
    with pytest.raises(UntrackedExchange, match="'media'"):
        app.amqp.router.route({"exchange": Exchange("media")}, "other", (), {})


def test_the_callers_queue_wins_over_the_routing_key_of_a_route() -> None:
    app = app_with(task_routes={"export.*": {"routing_key": "msg"}})

    assert queue_of(app, "export.project") == "msg"
    assert queue_of(app, "export.project", queue="celery") == "celery"


def test_a_delayed_task_that_is_retried_keeps_its_queue() -> None:
    key = "0." * 28 + "msg"
    options = {"exchange": "celery_delayed_delivery", "routing_key": key}

    assert queue_of(app_with(), "export.project", **options) == "msg"


def test_a_task_with_another_serializer_is_an_error_at_the_caller() -> None:
    app = app_with(task_routes={"msg.*": {"queue": "msg", "serializer": "yaml"}})

    @app.task(name="export.pickled", serializer="pickle", shared=False)
    def pickled() -> None: ...

    with pytest.raises(NotJSON, match=r"'export\.pickled'.*'pickle'.*JSON only"):
        pickled.delay()
    with pytest.raises(NotJSON, match=r"'export\.project'.*'msgpack'"):
        app.send_task("export.project", serializer="msgpack")
    with pytest.raises(NotJSON, match=r"'msg\.notify'.*'yaml'"):
        app.send_task("msg.notify")


@pytest.mark.parametrize(
    "options",
    [
        {"serializer": "json"},
        {"serializer": None},
        {"exchange": "", "routing_key": "msg"},
        {"exchange": "task_exchange", "routing_key": "msg"},
        {"exchange": "task_exchange", "routing_key": ".".join("01" * 14) + ".msg"},
        {"exchange": "celery_delayed_delivery", "routing_key": "0." * 28 + "msg"},
    ],
)
def test_the_delivery_options_of_celerys_retry_are_accepted(
    options: dict[str, Any],
) -> None:
    app_with().amqp.router.route(options, "export.project", (), {})


def test_the_argsrepr_of_the_caller_is_kept_in_a_header() -> None:
    options: dict[str, Any] = {"argsrepr": "(…)", "headers": {"mine": 1}}
    app_with().amqp.router.route(options, "export.project", ("s3cret",), {})

    assert options["headers"] == {"mine": 1, "workertoolbox_shown": {"argsrepr": "(…)"}}


def test_a_retry_takes_the_kwargsrepr_from_the_header() -> None:
    shown = {"kwargsrepr": "{…}"}
    options: dict[str, Any] = {"headers": {"workertoolbox_shown": shown}}
    app_with().amqp.router.route(options, "export.project", (), {"token": "s3cret"})

    assert options["kwargsrepr"] == "{…}"
    assert options["headers"] == {"workertoolbox_shown": shown}
