from __future__ import annotations

import re
from typing import Any

import pytest
from kombu import Queue

from cadasta.workertoolbox.routing import InvalidSetting, Routing, UndeclaredQueues


def test_the_monitor_queue_and_the_prefix_can_be_renamed() -> None:
    routing = Routing(["export"], PLATFORM_QUEUE_NAME="copies", QUEUE_PREFIX="live")

    assert [queue.name for queue in routing.task_queues] == [
        "celery",
        "export",
        "copies",
    ]
    assert routing.broker_transport_options["queue_name_prefix"] == "live-"


@pytest.mark.parametrize(
    ("name", "value"),
    [("queue_type", "qorum"), ("COPY_FAILURE", "ignore"), ("UNKNOWN_PREFIX", "x")],
)
def test_an_unknown_choice_is_refused_with_the_known_ones(
    name: str, value: str
) -> None:
    with pytest.raises(InvalidSetting, match=f"{name}='{value}' is unknown.* or "):
        Routing(["export"], **{name: value})


@pytest.mark.parametrize(
    ("given", "version"), [("1.4.0", "1.4.0"), ("", None), (None, None)]
)
def test_a_service_may_have_a_version(given: str | None, version: str | None) -> None:
    assert Routing(["export"], SERVICE_VERSION=given).SERVICE_VERSION == version


@pytest.mark.parametrize("version", [1.4, "1.4\n", "x" * 101])
def test_a_version_that_is_not_a_short_text_is_refused(version: str) -> None:
    with pytest.raises(InvalidSetting, match=r"SERVICE_VERSION=.*such as '1.4.0'"):
        Routing(["export"], SERVICE_VERSION=version)


def test_an_unknown_uppercase_name_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="'QEUES'"):
        Routing(["export"], QEUES=["export"])


@pytest.mark.parametrize(
    "name",
    ["task_queues", "task_protocol"],
)
def test_a_setting_that_bypasses_the_monitor_is_refused(name: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        Routing(["export"], **{name: "other"})


MAIL = {"mail.*": {"queue": "mails"}}
REPORT = (re.compile("report"), {"queue": Queue("bills")})


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        (MAIL, "'mail.*' to queue 'mails', which is not declared; add 'mails' to"),
        ([{"a.b": "mails"}], "'a.b' to queue 'mails', which is not"),
        ({"a": "exprot"}, "'a' to queue 'exprot' (did you mean 'export'?), which is"),
        (
            ([REPORT, ("a.b", "mails")], print),
            "'report' to queue 'bills', 'a.b' to queue 'mails', which are not "
            "declared; add 'bills', 'mails' to queues=[…], or correct the routes",
        ),
    ],
)
def test_a_static_route_to_an_undeclared_queue_is_refused(
    routes: Any, message: str
) -> None:
    with pytest.raises(UndeclaredQueues) as raised:
        Routing(["export"], task_routes=routes, broker_url="amqp://")

    assert f"task_routes sends {message}" in str(raised.value)


def test_an_undeclared_queue_of_a_route_names_the_variable_with_the_queues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_QUEUES", "export")
    with pytest.raises(UndeclaredQueues, match="to WORKERTOOLBOX_QUEUES,"):
        Routing(task_routes=MAIL, broker_url="amqp://")


@pytest.mark.parametrize(
    "routes",
    [
        {"a": "celery", "b": {"queue": "export"}, "c": {"priority": 5}},
        [lambda *_, **__: "mails", "shop.routes.Router"],
        None,
    ],
)
def test_routes_that_are_declared_or_not_known_yet_are_accepted(routes: Any) -> None:
    settings = Routing(["export"], task_routes=routes, broker_url="amqp://")

    assert settings["task_routes"][0].routes == routes
