from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue

from cadasta.workertoolbox.routing import (
    FrozenSettings,
    InvalidQueues,
    InvalidSetting,
    NotJSON,
    Routing,
    RoutingError,
    UnknownQueue,
    UntrackedExchange,
)


def app_with(**settings: Any) -> Celery:
    app = Celery("tests", set_as_current=False)
    app.config_from_object(
        Routing(["export", "msg"], broker_url="memory://", **settings)
    )
    return app


def queue_of(app: Celery, name: str, **options: Any) -> str:
    route = app.amqp.router.route(options, name, (), {})
    return str(route["queue"].name)


def test_every_queue_is_bound_to_the_task_exchange() -> None:
    queues = app_with().amqp.queues
    bindings = {
        name: (queue.exchange.name, queue.exchange.type, queue.routing_key)
        for name, queue in queues.items()
    }

    assert bindings == {
        "celery": ("task_exchange", "topic", "celery"),
        "export": ("task_exchange", "topic", "export"),
        "msg": ("task_exchange", "topic", "msg"),
        "platform.fifo": ("task_exchange", "topic", "#"),
    }


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


@pytest.mark.parametrize("prefix", ["a b", "pr\xe9", "", None, 5, "a.b"])
def test_a_prefix_that_sqs_would_refuse_is_refused(prefix: Any) -> None:
    with pytest.raises(InvalidQueues, match=re.escape(f"QUEUE_PREFIX={prefix!r}")):
        Routing(["export"], QUEUE_PREFIX=prefix)


def test_no_transport_options_are_none() -> None:
    assert Routing(["export"], broker_transport_options=None)


def test_a_queue_named_by_the_caller_wins() -> None:
    assert queue_of(app_with(), "export.project", queue="msg") == "msg"


def test_routes_of_the_users_own_come_first_and_are_copied_too() -> None:
    app = app_with(task_routes={"export.slow.*": "msg", "other": {"queue": "msg"}})
    route = app.amqp.router.route({}, "export.slow.one", (), {})

    assert queue_of(app, "export.slow.one") == "msg"
    assert queue_of(app, "other") == "msg"
    assert queue_of(app, "export.project") == "export"
    assert declared(route) == ["celery", "export", "msg", "platform.fifo"]


def test_every_message_brings_the_declaration_of_every_queue() -> None:
    route = app_with().amqp.router.route({"queue": "msg"}, "export.project", (), {})

    assert declared(route) == ["celery", "export", "msg", "platform.fifo"]


def declared(route: dict[str, Any]) -> list[str]:
    [topology] = route["declare"]
    return [queue.name for queue in topology.queues]


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
def test_a_queue_nobody_declared_is_an_error_at_the_caller(
    options: dict[str, Any],
) -> None:
    app = app_with()

    for _ in range(2):
        with pytest.raises(UnknownQueue, match="'exprot'.*mean 'export'"):
            app.send_task("export.project", **options)


def test_a_route_to_a_queue_nobody_declared_is_an_error_at_the_caller() -> None:
    with pytest.raises(UnknownQueue, match="'mgs'.*mean 'msg'"):
        app_with(task_routes={"other": "mgs"}).send_task("other")


def test_a_queue_like_no_other_is_not_guessed_at() -> None:
    with pytest.raises(UnknownQueue) as caught:
        app_with().send_task("export.project", queue="zzz")

    assert caught.value.nearest is None


def test_a_task_for_the_monitor_queue_is_refused() -> None:
    with pytest.raises(UnknownQueue, match="'platform.fifo'"):
        app_with().send_task("export.project", queue="platform.fifo")


def test_an_exchange_that_makes_no_copies_is_refused() -> None:
    app = app_with(task_routes={"export.*": {"exchange": "media", "routing_key": "x"}})

    with pytest.raises(UntrackedExchange, match="'export.project'.*'media'"):
        app.send_task("export.project")
    with pytest.raises(UntrackedExchange, match="'media'"):
        app.amqp.router.route({"exchange": Exchange("media")}, "other", (), {})


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
def test_what_celerys_retry_says_of_a_delivery_is_understood(
    options: dict[str, Any],
) -> None:
    app_with().amqp.router.route(options, "export.project", (), {})


def test_the_monitor_queue_and_the_prefix_have_other_names_on_demand() -> None:
    routing = Routing(["export"], PLATFORM_QUEUE_NAME="copies", QUEUE_PREFIX="live")

    assert [queue.name for queue in routing.task_queues] == [
        "celery",
        "export",
        "copies",
    ]
    assert routing.broker_transport_options["queue_name_prefix"] == "live-"


def test_options_of_the_users_own_are_kept_beside_ours() -> None:
    options = {"region": "eu-west-1", "visibility_timeout": 60}
    routing = Routing(["export"], broker_transport_options=options)

    assert routing.broker_transport_options == {
        "region": "eu-west-1",
        "queue_name_prefix": "dev-",
        "copy_failure": "log",
        "confirm_publish": True,
        "visibility_timeout": 60,
    }


def test_the_names_of_predefined_queues_are_whole() -> None:
    predefined = {name: {"url": ""} for name in ("celery", "export", "platform.fifo")}
    options = {"predefined_queues": predefined}
    routing = Routing(["export"], broker_transport_options=options)

    assert routing.broker_transport_options["queue_name_prefix"] == ""


def test_predefined_queues_that_leave_one_out_are_refused() -> None:
    options = {"predefined_queues": {"export": {"url": ""}}}

    with pytest.raises(InvalidSetting, match="no 'celery' and no 'platform.fifo'"):
        Routing(["export"], broker_transport_options=options)


def test_names_are_checked_with_the_prefix_of_the_transport_options() -> None:
    long = {"queue_name_prefix": "x" * 75}
    strange = {"queue_name_prefix": "a b"}

    with pytest.raises(InvalidQueues, match="'platform.fifo' has 88 characters"):
        Routing(["export"], broker_transport_options=long)
    with pytest.raises(InvalidQueues, match="queue_name_prefix='a b'"):
        Routing(["export"], broker_transport_options=strange)


def test_the_monitor_queue_is_a_quick_one_on_rabbitmq() -> None:
    *work, monitor = Routing(["export"]).task_queues

    assert monitor.queue_arguments == {"x-queue-version": 2}
    assert not any(queue.queue_arguments for queue in work)


def test_quorum_queues_are_declared_as_such_and_copied_when_scheduled() -> None:
    *work, monitor = Routing(["export"], queue_type="quorum").task_queues

    for queue in (*work, monitor):
        assert queue.queue_arguments == {"x-queue-type": "quorum"}
    assert {(each.exchange.name, each.routing_key) for each in monitor.bindings} == {
        ("task_exchange", "#"),
        ("celery_delayed_27", "#"),
    }


@pytest.mark.parametrize(
    ("name", "value"), [("queue_type", "qorum"), ("COPY_FAILURE", "ignore")]
)
def test_an_unknown_choice_is_refused_with_those_there_are(
    name: str, value: str
) -> None:
    with pytest.raises(InvalidSetting, match=f"{name}='{value}' is unknown.* or "):
        Routing(["export"], **{name: value})


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        ([], "queues is empty"),
        ((), "queues is empty"),
        ("export", "'export'"),
        (None, "None"),
        ({"export": 1}, "{'export': 1}"),
        (7, "7"),
        (["export", 7], "7"),
        (["export", None], "None"),
        (["export", "msg", "export"], "'export' is listed 2 times"),
        (["export", "platform.fifo"], "'platform.fifo' is the task monitor's own"),
        (["ex port"], "'ex port'"),
        (["export!"], "'export!'"),
        (["exp\u00f6rt"], "'exp\u00f6rt'"),
        (["a.b"], "'a.b'"),
        ([".fifo"], "'.fifo'"),
        (["export\n"], r"'export\n'"),
        ([""], "''"),
        (["x" * 77], "81 characters"),
    ],
)
def test_a_queue_list_that_cannot_be_used_is_one_clear_error(
    queues: Any, said: str
) -> None:
    with pytest.raises(InvalidQueues, match=re.escape(said)) as caught:
        Routing(queues)

    assert isinstance(caught.value, RoutingError) and isinstance(
        caught.value, ValueError
    )


@pytest.mark.parametrize("name", ["x" * 76, "export.fifo", "Ex-port_1", "celery"])
def test_names_that_sqs_takes_are_taken(name: str) -> None:
    assert Routing([name]).QUEUES == (name,)


def test_an_uppercase_name_that_is_not_the_toolboxs_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="'QEUES'"):
        Routing(["export"], QEUES=["export"])


@pytest.mark.parametrize(
    "name", ["task_queues", "task_default_exchange", "task_default_queue"]
)
def test_a_setting_that_takes_tasks_past_the_monitor_is_refused(name: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        Routing(["export"], **{name: "other"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_serializer", "pickle"),
        ("result_serializer", "pickle"),
        ("event_serializer", "pickle"),
        ("accept_content", ["json", "pickle"]),
        ("accept_content", ["application/x-python-serialize"]),
        ("result_accept_content", ("pickle",)),
        ("task_serializer", "yaml"),
        ("accept_content", "json"),
        ("accept_content", []),
    ],
)
def test_anything_but_json_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidSetting, match="JSON only") as caught:
        Routing(["export"], **{name: value})

    assert f"{name}={value!r}" in str(caught.value)


def test_json_is_json_under_its_other_name_too() -> None:
    routing = Routing(["export"], accept_content=("json", "application/json"))

    assert routing.accept_content == ("json", "application/json")
    assert routing.task_serializer == routing.result_serializer == "json"
    assert routing.result_accept_content == ["json"]


def test_a_routing_and_the_values_in_it_cannot_be_changed() -> None:
    routing = Routing(["export"])

    with pytest.raises(FrozenSettings, match="Routing.*broker_url=…"):
        routing.broker_url = "redis://"
    with pytest.raises(FrozenSettings, match="list.*app.conf"):
        routing.accept_content.append("yaml")
    assert routing == Routing(["export"])


def test_routing_is_comparable_and_survives_pickling_and_copying() -> None:
    routing = Routing(["export"], broker_url="sqs://", task_routes={"a": "export"})

    assert pickle.loads(pickle.dumps(routing)) == routing
    assert copy.deepcopy(routing) == routing
    assert routing != Routing(["export"], broker_url="sqs://")


def test_routing_cannot_be_changed() -> None:
    routing = Routing(["export"])

    with pytest.raises(AttributeError, match="cannot be changed"):
        routing.QUEUES = ("msg",)


def test_repr_shows_settings_and_no_secret() -> None:
    text = repr(
        Routing(
            ["export"],
            broker_url=["amqp://me:s3cret@a//;amqp://me:s3c@ret/@b//", "amqp://c//"],
            broker_transport_options={
                "sqs": {"secret_access_key": "s3cret", "access_key_id": "me"},
                "password": "s3cret",
            },
            redis_password="s3cret",
            result_backend="db+postgresql://me:s3c;ret@d/e?sslpassword=s3cret&a=b",
        )
    )

    assert "s3c" not in text and "ret@" not in text
    assert "me:********@d/e?sslpassword=********&a=b" in text
    assert "amqp://me:********@a//;amqp://me:********@b//" in text
    assert "task_default_exchange='task_exchange'" in text
    assert "QUEUES" not in text


def test_what_the_caller_wants_to_be_shown_of_the_arguments_is_kept() -> None:
    options: dict[str, Any] = {"argsrepr": "(…)", "headers": {"mine": 1}}
    app_with().amqp.router.route(options, "export.project", ("s3cret",), {})

    assert options["headers"] == {"mine": 1, "workertoolbox_shown": {"argsrepr": "(…)"}}


def test_it_is_kept_in_a_retry_which_celery_publishes_without() -> None:
    shown = {"kwargsrepr": "{…}"}
    options: dict[str, Any] = {"headers": {"workertoolbox_shown": shown}}
    app_with().amqp.router.route(options, "export.project", (), {"token": "s3cret"})

    assert options["kwargsrepr"] == "{…}"
    assert options["headers"] == {"workertoolbox_shown": shown}
