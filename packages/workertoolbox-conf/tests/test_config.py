from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.beat import Scheduler

from cadasta.workertoolbox.conf import (
    Config,
    InvalidValue,
    MissingQueues,
)
from cadasta.workertoolbox.routing import InvalidQueues, InvalidSetting, Routing


def test_one_line_is_enough() -> None:
    config = Config(queues=["export", "msg"])

    assert config.QUEUES == ("export", "msg")
    assert config.broker_url == "sqs://"
    assert config.broker_transport_options["region"] == "us-west-2"
    assert config.broker_transport_options["queue_name_prefix"] == "dev-"
    assert config.result_backend == (
        "workertoolbox+postgresql+psycopg2://worker:@localhost:5432/workers"
    )
    assert config.task_track_started is True
    assert config.result_extended is True
    assert config.broker_connection_retry_on_startup is True


def test_results_expire_after_a_day_and_beat_cleans_them_up(tmp_path: Path) -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config.embedded(["export"], tmp_path))
    scheduler: Any = Scheduler(app, lazy=True)
    scheduler.install_default_entries(scheduler.data)

    assert app.conf.result_expires == timedelta(days=1)
    assert "celery.backend_cleanup" in scheduler.schedule


def test_it_contains_the_settings_of_routing() -> None:
    routing = Routing(["export"], broker_url="sqs://", QUEUE_PREFIX="live")
    config = Config(
        ["export"], QUEUE_PREFIX="live", result_backend=routing.result_backend
    )

    options = routing.broker_transport_options
    ours = {name: config.broker_transport_options[name] for name in options}
    assert ours == options
    assert {**config, "broker_transport_options": options}.items() >= routing.items()


@pytest.mark.parametrize(
    "config",
    [
        Config(["export"]),
        Config(queues=["export"]),
        Config(queues=("export",)),
        Config(QUEUES=("export",)),
    ],
)
def test_queues_can_be_given_by_position_or_by_either_name(config: Config) -> None:
    assert config == Config(["export"])


def test_queues_given_twice_are_an_error_that_shows_both() -> None:
    with pytest.raises(InvalidValue, match=r"\['export'\].*\('msg',\)") as caught:
        Config(["export"], QUEUES=("msg",))

    assert "once" in str(caught.value)


def test_missing_queues_are_an_error_that_says_how_to_give_them() -> None:
    with pytest.raises(MissingQueues) as caught:
        Config(ENV_PREFIX="EXPORT")

    assert "queues=[" in str(caught.value)
    assert "EXPORT_QUEUES=" in str(caught.value)


@pytest.mark.parametrize(
    "queues", [[], "export", [1], ["export", "export"], ["platform.fifo"], ["ex port"]]
)
def test_queues_that_routing_refuses_raise_the_error_of_routing(
    queues: Any,
) -> None:
    with pytest.raises(InvalidQueues):
        Config(queues)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("broker_url", "redis://localhost/0"),
        ("result_backend", "db+sqlite:///results.sqlite3"),
        ("result_backend", None),
        ("task_track_started", False),
        ("result_extended", False),
        ("broker_connection_retry_on_startup", False),
        ("task_acks_late", True),
        ("redbeat_lock_timeout", 30),
    ],
)
def test_a_lowercase_setting_wins_over_the_default(name: str, value: Any) -> None:
    assert Config(["export"], **{name: value})[name] == value


def test_a_setting_that_would_break_the_tracking_raises_the_error_of_routing() -> None:
    with pytest.raises(InvalidSetting, match="task_queues"):
        Config(["export"], task_queues={})


def test_a_result_serializer_other_than_json_is_an_error() -> None:
    with pytest.raises(InvalidSetting, match="JSON only"):
        Config(["export"], result_serializer="pickle")
