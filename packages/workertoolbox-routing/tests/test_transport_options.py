from __future__ import annotations

import pytest

from cadasta.workertoolbox.routing import InvalidSetting, Routing


def test_transport_options_may_be_none() -> None:
    assert Routing(["export"], broker_transport_options=None)


def test_the_users_own_options_are_kept() -> None:
    options = {"region": "eu-west-1", "visibility_timeout": 60}
    routing = Routing(["export"], broker_transport_options=options)

    assert routing.broker_transport_options == {
        "region": "eu-west-1",
        "queue_name_prefix": "dev-",
        "copy_failure": "log",
        "confirm_publish": True,
        "confirm_timeout": 15.0,
        "visibility_timeout": 60,
    }


@pytest.mark.parametrize("value", [0, -1, None, True, "15", float("nan")])
def test_the_wait_for_a_confirm_is_a_positive_number_of_seconds(value: object) -> None:
    with pytest.raises(InvalidSetting, match="confirm_timeout.*positive number"):
        Routing(["export"], broker_transport_options={"confirm_timeout": value})


def test_predefined_queues_have_no_prefix() -> None:
    predefined = {name: {"url": ""} for name in ("celery", "export", "platform.fifo")}
    options = {"predefined_queues": predefined}
    routing = Routing(["export"], broker_transport_options=options)

    assert routing.broker_transport_options["queue_name_prefix"] == ""


def test_predefined_queues_without_a_declared_queue_are_refused() -> None:
    options = {"predefined_queues": {"export": {"url": ""}}}

    with pytest.raises(InvalidSetting, match="no 'celery' and no 'platform.fifo'"):
        Routing(["export"], broker_transport_options=options)
