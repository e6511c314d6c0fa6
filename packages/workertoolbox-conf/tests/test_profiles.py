from __future__ import annotations

import json
from typing import Any

import pytest
from profiles_table import row, table
from readme import README, with_table

from cadasta.workertoolbox.conf import Config
from cadasta.workertoolbox.conf._brokers.profiles import (
    BROKERS,
    CLASSIC,
    PRESETS,
    QUORUM,
    REDIS,
    SQS,
    Preset,
)

#: Settings that name each broker.
BROKER_SETTINGS: dict[str, dict[str, Any]] = {
    SQS: {"broker_url": "sqs://"},
    CLASSIC: {"broker_url": "amqp://mq"},
    QUORUM: {"broker_url": "amqp://mq", "queue_type": "quorum"},
    REDIS: {"broker_url": "redis://mq"},
}


def value_of(config: Config, setting: str) -> Any:
    """Return the value of a setting, or of an option within one; None if missing."""
    value: Any = config
    for name in setting.split("."):
        value = value.get(name, {})
    return None if value == {} else value


def other_value(value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, dict):
        return {**value, "max_retries": 77}
    return (not value) if isinstance(value, bool) else value + 7


def test_the_table_in_the_readme_is_made_from_the_code() -> None:
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
def test_a_named_broker_has_every_preset_of_its_profile(broker: str) -> None:
    config = Config(["export"], task_acks_late=True, **BROKER_SETTINGS[broker])

    for preset in PRESETS:
        if not preset.brokers or broker in preset.brokers:
            assert value_of(config, preset.setting) == preset.value, preset


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.setting)
def test_a_keyword_and_the_environment_win_over_a_profile(
    preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = BROKER_SETTINGS[preset.brokers[0] if preset.brokers else SQS]
    name, *path = preset.setting.split(".")
    other = other_value(preset.value)
    given: Any = other
    for part in reversed(path):
        given = {part: given}
    settings = {"task_acks_late": True, **broker}

    config = Config(["export"], **settings, **{name: given})
    assert value_of(config, preset.setting) == other

    variable = f"WORKERTOOLBOX_{name.upper()}"
    monkeypatch.setenv(variable, json.dumps(given))
    assert value_of(Config(["export"], **settings), preset.setting) == other


def test_a_given_option_leaves_the_other_options_of_a_profile() -> None:
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


def test_no_profile_acknowledges_tasks_late() -> None:
    for settings in BROKER_SETTINGS.values():
        config = Config(["export"], **settings)

        assert "task_acks_late" not in config
        assert "task_retry_on_worker_lost" not in config


def test_rejecting_tasks_on_worker_lost_excludes_retrying_them() -> None:
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
def test_other_brokers_and_several_brokers_have_no_profile(
    name: str, value: Any
) -> None:
    config = Config(["export"], **{name: value})

    assert "broker_heartbeat" not in config
    assert "socket_timeout" not in config.broker_transport_options


def test_without_a_broker_url_only_presets_that_suit_every_broker_apply() -> None:
    config = Config(["export"])

    assert config.worker_prefetch_multiplier == 1
    assert config.broker_transport_options["wait_time_seconds"] == 10
    assert "visibility_timeout" not in config.broker_transport_options
    assert "worker_enable_remote_control" not in config


def test_the_broker_of_celerys_own_variable_has_its_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://mq")

    assert Config(["export"]).broker_transport_options["socket_timeout"] == 30


def test_a_copy_for_another_broker_has_its_profile() -> None:
    config = Config(["export"], broker_url="redis://mq").copy(broker_url="amqp://mq")

    assert config == Config(["export"], broker_url="amqp://mq")
