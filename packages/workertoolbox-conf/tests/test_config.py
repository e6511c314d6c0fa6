from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from cadasta.workertoolbox.conf import (
    Config,
    InvalidValue,
    MissingQueues,
    UnknownSetting,
)
from cadasta.workertoolbox.results import InvalidRedaction
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


def test_it_publishes_as_a_service_does_that_has_routing_alone() -> None:
    routing = Routing(["export"], broker_url="sqs://", QUEUE_PREFIX="live")
    config = Config(["export"], QUEUE_PREFIX="live")

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
def test_queues_are_given_by_position_or_by_either_name(config: Config) -> None:
    assert config == Config(["export"])


def test_queues_given_twice_are_an_error_that_shows_both() -> None:
    with pytest.raises(InvalidValue, match=r"\['export'\].*\('msg',\)") as caught:
        Config(["export"], QUEUES=("msg",))

    assert "once" in str(caught.value)


def test_no_queues_anywhere_are_an_error_that_says_how_to_give_them() -> None:
    with pytest.raises(MissingQueues) as caught:
        Config(ENV_PREFIX="EXPORT")

    assert "queues=[" in str(caught.value)
    assert "EXPORT_QUEUES=" in str(caught.value)


@pytest.mark.parametrize(
    "queues", [[], "export", [1], ["export", "export"], ["platform.fifo"], ["ex port"]]
)
def test_queues_that_routing_refuses_are_refused_by_the_same_error(
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
def test_a_lowercase_setting_is_taken_as_it_is(name: str, value: Any) -> None:
    assert Config(["export"], **{name: value})[name] == value


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("RESULT_DB_PASSWORD", "RESULT_DB_PASS"),
        ("QUEUE_PREFX", "QUEUE_PREFIX"),
        ("ENV_PREFX", "ENV_PREFIX"),
        ("BROKER_URL", "broker_url"),
        ("CELERY_RESULT_BACKEND", "result_backend"),
        ("Task_acks_late", "task_acks_late"),
    ],
)
def test_an_unknown_uppercase_name_is_an_error_with_the_nearest_one(
    name: str, known: str
) -> None:
    with pytest.raises(UnknownSetting, match=f"'{name}'.*'{known}'"):
        Config(["export"], **{name: "x"})


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("CELERY_TASK_SERIALIZER", "task_serializer"),
        ("CELERY_TASK_RESULT_EXPIRES", "result_expires"),
        ("CELERY_QUEUES", "task_queues"),
        ("CELERY_ACCEPT_CONTENT", "accept_content"),
        ("CELERYD_CONCURRENCY", "worker_concurrency"),
        ("CELERY_WORKER_CONCURRENCY", "worker_concurrency"),
        ("CELERYBEAT_SCHEDULE", "beat_schedule"),
        ("BROKER_URL", "broker_url"),
        ("celery_result_backend", "result_backend"),
    ],
)
def test_an_old_name_is_an_error_with_the_new_one(name: str, new: str) -> None:
    with pytest.raises(UnknownSetting, match=f"'{name}' is an old name.*'{new}'"):
        Config(["export"], **{name: "x"})


def test_a_setting_of_ones_own_is_kept() -> None:
    app = Celery("export", set_as_current=False)
    app.config_from_object(Config(["export"], export_folder="/x"))

    assert app.conf.export_folder == "/x"


@pytest.mark.parametrize(
    ("name", "known"),
    [("task_qeues", "task_queues"), ("broker_ulr", "broker_url")],
)
def test_a_misspelt_setting_is_an_error_with_the_nearest_one(
    name: str, known: str
) -> None:
    with pytest.raises(UnknownSetting, match=f"'{name}'.*'{known}'"):
        Config(["export"], **{name: "x"})


def test_a_name_that_is_like_none_is_not_compared_with_any() -> None:
    with pytest.raises(
        UnknownSetting, match="'SETUP_LOGGING' is neither .*; remove it"
    ):
        Config(["export"], SETUP_LOGGING=True)


def test_a_setting_that_would_break_the_tracking_is_routings_error() -> None:
    with pytest.raises(InvalidSetting, match="task_queues"):
        Config(["export"], task_queues={})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RESULT_DB_USER", None),
        ("RESULT_DB_PASS", None),
        ("RESULT_DB_HOST", ["db"]),
        ("RESULT_DB_PORT", True),
        ("RESULT_DB_PORT", "postgres"),
        ("CHORD_UNLOCK_MAX_RETRIES", -1),
        ("CHORD_UNLOCK_MAX_RETRIES", "ten"),
        ("CHORD_UNLOCK_MAX_RETRIES", True),
        ("MAX_ARGUMENT_BYTES", 0),
        ("MAX_ARGUMENT_BYTES", "64k"),
        ("MAX_ARGUMENT_BYTES", True),
    ],
)
def test_a_variable_with_an_unusable_value_is_an_error_that_names_it(
    name: str, value: Any
) -> None:
    with pytest.raises(InvalidValue) as caught:
        Config(["export"], **{name: value})

    assert str(caught.value).startswith(f"{name}={value!r}")


@pytest.mark.parametrize("name", ["broker_url", "broker_read_url", "broker_write_url"])
@pytest.mark.parametrize("value", [5, b"redis://:geheim@x", {"x": 1}, ["sqs://", 5]])
def test_a_broker_url_of_another_type_is_an_error(name: str, value: Any) -> None:
    with pytest.raises(
        InvalidValue, match=f"{name} is neither a string nor a list of strings"
    ) as caught:
        Config(["export"], **{name: value})

    assert "geheim" not in str(caught.value)


def test_a_password_of_the_wrong_type_is_not_shown() -> None:
    with pytest.raises(InvalidValue) as caught:
        Config(["export"], RESULT_DB_PASS=b"geheim")

    assert "geheim" not in str(caught.value)


def test_results_are_json_only_too() -> None:
    with pytest.raises(InvalidSetting, match="JSON only"):
        Config(["export"], result_serializer="pickle")


def test_rules_of_redaction_are_checked_where_they_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKERTOOLBOX_REDACT", '{"export.*": ["folder", 0]}')

    assert Config(["export"])["REDACT"] == {"export.*": ["folder", 0]}
    with pytest.raises(InvalidRedaction, match="REDACT={'export': 'folder'}"):
        Config(["export"], REDACT={"export": "folder"})


@pytest.mark.parametrize(
    ("setting", "value", "wanted"),
    [
        ("task_acks_late", "yes", "True or False"),
        ("worker_prefetch_multiplier", "4", "a number"),
        ("task_time_limit", "1h", "seconds, as in 0.5"),
        ("broker_heartbeat", "30", "seconds, as in 30"),
    ],
)
def test_a_text_for_a_number_or_a_boolean_is_an_error(
    setting: str, value: str, wanted: str
) -> None:
    with pytest.raises(
        InvalidValue, match=f"{setting}='{value}' is a string; .*{wanted}"
    ):
        Config(["export"], **{setting: value})
