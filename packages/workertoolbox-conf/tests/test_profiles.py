from __future__ import annotations

import json
from typing import Any

import pytest
from profiles_table import row, table
from readme import README, with_table

from cadasta.workertoolbox.conf import Config, InvalidValue
from cadasta.workertoolbox.conf._brokers.profiles import (
    BROKERS,
    CLASSIC,
    PRESETS,
    QUORUM,
    REDIS,
    SQS,
    Preset,
)
from cadasta.workertoolbox.routing import InvalidSetting

#: What names each broker.
NAMED: dict[str, dict[str, Any]] = {
    SQS: {"broker_url": "sqs://"},
    CLASSIC: {"broker_url": "amqp://mq"},
    QUORUM: {"broker_url": "amqp://mq", "queue_type": "quorum"},
    REDIS: {"broker_url": "redis://mq"},
}

PREDEFINED = {
    name: f"https://sqs.example/1/{name}"
    for name in ("celery", "export", "platform.fifo")
}


def found(config: Config, setting: str) -> Any:
    """Return what a setting, or an option within one, is; None where there is none."""
    value: Any = config
    for name in setting.split("."):
        value = value.get(name, {})
    return None if value == {} else value


def unlike(value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, dict):
        return {**value, "max_retries": 77}
    return (not value) if isinstance(value, bool) else value + 7


def test_the_table_in_the_readme_is_that_of_the_code() -> None:
    text = README.read_text("utf-8")

    assert with_table(text, table()) == text


def test_a_row_has_the_setting_its_value_its_brokers_and_the_reason() -> None:
    preset = Preset(
        "broker_heartbeat", 30, "because", (CLASSIC, QUORUM), needs_acks_late=True
    )

    assert row(preset) == (
        "| `broker_heartbeat` | `30` "
        "| RabbitMQ classic, RabbitMQ quorum, with `task_acks_late` | because |\n"
    )
    assert table().count("\n") == len(PRESETS) + 2


@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_that_is_named_has_every_choice_of_its_profile(broker: str) -> None:
    config = Config(["export"], task_acks_late=True, **NAMED[broker])

    for preset in PRESETS:
        if not preset.brokers or broker in preset.brokers:
            assert found(config, preset.setting) == preset.value, preset


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.setting)
def test_a_keyword_and_the_environment_win_over_a_profile(
    preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = NAMED[preset.brokers[0] if preset.brokers else SQS]
    name, *path = preset.setting.split(".")
    other = unlike(preset.value)
    given: Any = other
    for part in reversed(path):
        given = {part: given}
    settings = {"task_acks_late": True, **broker}

    assert found(Config(["export"], **settings, **{name: given}), preset.setting) == (
        other
    )

    variable = f"WORKERTOOLBOX_{name.upper()}"
    monkeypatch.setenv(variable, json.dumps(given))
    assert found(Config(["export"], **settings), preset.setting) == other


def test_an_option_of_ones_own_leaves_the_others_of_a_profile() -> None:
    config = Config(
        ["export"],
        broker_url="sqs://",
        broker_transport_options={"client-config": {"read_timeout": 45}},
    )

    assert config.broker_transport_options["client-config"] == {
        "connect_timeout": 5,
        "read_timeout": 45,
        "tcp_keepalive": True,
    }
    assert config.broker_transport_options["wait_time_seconds"] == 10


def test_tasks_are_acknowledged_late_only_where_that_is_asked_for() -> None:
    for settings in NAMED.values():
        config = Config(["export"], **settings)

        assert "task_acks_late" not in config
        assert "task_retry_on_worker_lost" not in config


def test_who_has_tasks_rejected_has_no_retries_beside_that() -> None:
    config = Config(["export"], task_acks_late=True, task_reject_on_worker_lost=True)

    assert "task_retry_on_worker_lost" not in config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("broker_url", "filesystem://"),
        ("broker_url", "memory://"),
        ("broker_url", ["redis://mq", "amqp://mq"]),
        ("broker_transport", "somebody.elses:Transport"),
    ],
)
def test_a_broker_without_a_profile_or_of_two_kinds_gets_none(
    name: str, value: Any
) -> None:
    config = Config(["export"], **{name: value})

    assert "broker_heartbeat" not in config
    assert "socket_timeout" not in config.broker_transport_options


def test_where_no_broker_is_named_others_than_sqs_do_not_suffer() -> None:
    config = Config(["export"])

    assert config.worker_prefetch_multiplier == 1
    assert config.broker_transport_options["wait_time_seconds"] == 10
    assert "visibility_timeout" not in config.broker_transport_options
    assert "worker_enable_remote_control" not in config


def test_a_broker_that_celerys_own_variable_names_has_its_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://mq")

    assert Config(["export"]).broker_transport_options["socket_timeout"] == 30


def test_a_copy_for_another_broker_has_its_profile() -> None:
    config = Config(["export"], broker_url="redis://mq").copy(broker_url="amqp://mq")

    assert config == Config(["export"], broker_url="amqp://mq")


def lines(queues: dict[str, str]) -> str:
    return "\n".join(f"  {name} = {url}" for name, url in queues.items()) + "\n\n"


@pytest.mark.parametrize("given", [PREDEFINED, lines(PREDEFINED)])
@pytest.mark.parametrize("place", ["PREDEFINED_QUEUES", "predefined_queues"])
def test_predefined_queues_are_names_and_urls(given: Any, place: str) -> None:
    settings: dict[str, Any] = {place: given}
    if place == "predefined_queues":
        settings = {"broker_transport_options": settings}
    config = Config(["export"], broker_url="sqs://", **settings)
    options = config.broker_transport_options

    assert options["predefined_queues"] == {
        name: {"url": url} for name, url in PREDEFINED.items()
    }
    assert options["queue_name_prefix"] == ""
    assert "visibility_timeout" not in options


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lines({"export": "sqs.example/1/export"}), "'sqs.example/1/export' for the"),
        ({"export": 5}, "a int for the URL of queue 'export'"),
        ({"export": "https://sqs.example"}, "'https://sqs.example' for the URL"),
        ("https://sqs.example/1/export?a=b", "not a name and a URL"),
        ("export", "line 'export' that is not a name"),
        (2 * lines({"export": "https://sqs.example/1/export"}), "'export' twice"),
        (17, "is a int"),
        (
            '{"export": {"url": "…", "secret_access_key": "geheim"',
            "is JSON in a string",
        ),
    ],
)
def test_a_predefined_queue_without_a_url_is_an_error_that_shows_it(
    given: Any, said: str
) -> None:
    with pytest.raises(InvalidValue, match=said) as caught:
        Config(["export"], PREDEFINED_QUEUES=given)

    assert "PREDEFINED_QUEUES" in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert "export=https://…/export" in str(caught.value) or "twice" in said


def test_predefined_queues_in_two_places_are_an_error() -> None:
    with pytest.raises(InvalidValue, match="both given"):
        Config(
            ["export"],
            PREDEFINED_QUEUES=PREDEFINED,
            broker_transport_options={"predefined_queues": PREDEFINED},
        )


def test_a_predefined_queue_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidSetting, match=r"no 'platform\.fifo'"):
        Config(
            ["export"],
            PREDEFINED_QUEUES={name: PREDEFINED[name] for name in ("celery", "export")},
        )
