from __future__ import annotations

from typing import Any

import pytest
from kombu.transport.SQS import Channel

from cadasta.workertoolbox.conf import (
    Config,
    ConflictingSettings,
    InvalidValue,
)
from cadasta.workertoolbox.conf._brokers.visibility import VISIBILITY_S

#: Queues that were created elsewhere; kombu takes None for a URL.
PREDEFINED: dict[str, Any] = {
    name: {"url": None} for name in ("celery", "export", "platform.fifo")
}


def visibility_timeout(seconds: object) -> dict[str, Any]:
    return {"broker_transport_options": {"visibility_timeout": seconds}}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"task_time_limit": 61}, "task_time_limit=61"),
        ({"task_soft_time_limit": 60.5}, "task_soft_time_limit=60.5"),
        (
            {"task_annotations": {"*": {"time_limit": 61}}},
            "task_annotations['*']['time_limit']=61",
        ),
        (
            {"task_annotations": [{"a.b": {"default_retry_delay": 61}}]},
            "task_annotations['a.b']['default_retry_delay']=61",
        ),
        (
            {"task_annotations": {"a.b": {"retry_backoff_max": 61}}},
            "task_annotations['a.b']['retry_backoff_max']=61",
        ),
        (
            {"task_routes": {"a.b": {"queue": "export", "soft_time_limit": 61}}},
            "task_routes['a.b']['soft_time_limit']=61",
        ),
        (
            {"task_routes": ([("a.*", {"countdown": 61})],)},
            "task_routes['a.*']['countdown']=61",
        ),
        (
            {"beat_schedule": {"x": {"task": "a.b", "options": {"countdown": 61}}}},
            "beat_schedule['x']['options']['countdown']=61",
        ),
    ],
)
def test_a_time_above_the_visibility_timeout_is_an_error_that_names_it(
    settings: dict[str, Any], name: str
) -> None:
    with pytest.raises(ConflictingSettings) as caught:
        Config(["export"], **visibility_timeout(60), **settings)

    assert str(caught.value).startswith(f"{name} is above the 60 seconds")
    assert name.rpartition("=")[2] + " or more, or lower" in str(caught.value)
    assert '"visibility_timeout"' in str(caught.value)


@pytest.mark.parametrize(
    ("broker", "seconds"),
    [
        ("sqs://", 1_800),
        ("SQS://", 1_800),
        ("redis://localhost", 3_600),
        ("rediss://localhost", 3_600),
        ("sentinel://localhost", 3_600),
    ],
)
def test_a_broker_has_a_default_visibility_timeout(broker: str, seconds: int) -> None:
    config = Config(["export"], broker_url=broker, task_time_limit=seconds)

    with pytest.raises(ConflictingSettings, match=f"above the {seconds} seconds"):
        config.copy(task_time_limit=seconds + 1)


def test_the_default_on_sqs_is_that_of_kombu() -> None:
    assert VISIBILITY_S["sqs"] == Channel.default_visibility_timeout


@pytest.mark.parametrize(
    "settings",
    [
        {"broker_url": "amqp://localhost//"},
        {
            "broker_url": "amqp://",
            "broker_transport_options": {"visibility_timeout": 1},
        },
        {
            "broker_url": "sqs://",
            "broker_transport_options": {"visibility_timeout": 9e3},
        },
        {
            "broker_url": "sqs://",
            "broker_transport_options": {"predefined_queues": PREDEFINED},
        },
        {},  # The app may name its broker, as in Celery(broker=…).
    ],
)
def test_a_long_task_is_accepted_if_its_message_is_not_delivered_again(
    settings: dict[str, Any],
) -> None:
    config = Config(["export"], task_time_limit=9_000, **settings)

    assert config.task_time_limit == 9_000


def test_a_visibility_timeout_above_the_maximum_of_sqs_is_an_error() -> None:
    config = Config(["export"], broker_url="sqs://", **visibility_timeout(43_200))

    with pytest.raises(
        ConflictingSettings, match="visibility_timeout=43201.*the 43200 sec"
    ):
        config.copy(**visibility_timeout(43_201))
    redis = config.copy(broker_url="redis://mq", **visibility_timeout(43_201))
    assert redis.broker_transport_options["visibility_timeout"] == 43_201


@pytest.mark.parametrize("seconds", ["1h", "60", 0, -1, True])
def test_a_visibility_timeout_that_is_not_a_positive_number_is_an_error(
    seconds: object,
) -> None:
    with pytest.raises(InvalidValue, match=f"visibility_timeout={seconds!r}"):
        Config(["export"], **visibility_timeout(seconds))
