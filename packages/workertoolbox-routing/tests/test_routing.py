from __future__ import annotations

import pytest

from cadasta.workertoolbox.routing import InvalidSetting, Routing


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
