from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import pytest

from cadasta.workertoolbox.conf import Config, ConflictingSettings, InvalidValue
from cadasta.workertoolbox.routing import InvalidSetting

REDIS = "redis://me:secret@localhost/0"


def attributes(**given: str) -> dict[str, Any]:
    return {"broker_transport_options": {"sqs-creation-attributes": given}}


def predefined(urls: Mapping[str, str | None]) -> dict[str, Any]:
    queues = {
        name: {"url": urls.get(name)} for name in ("celery", "export", "platform.fifo")
    }
    return {"broker_transport_options": {"predefined_queues": queues}}


@pytest.mark.parametrize(
    "name", ["queue_type", "task_default_queue_type", "task_create_missing_queue_type"]
)
@pytest.mark.parametrize(
    "settings",
    [
        {"broker_url": REDIS},
        {"broker_url": ["amqp://localhost//", REDIS]},
        {"broker_url": f"amqp://localhost//;{REDIS}"},
        {"broker_read_url": REDIS, "broker_url": "amqp://localhost//"},
        {"broker_write_url": REDIS},
    ],
)
def test_quorum_queues_on_another_broker_are_an_error_that_names_both(
    name: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(ConflictingSettings) as caught:
        Config(["export"], **{**settings, name: "quorum"})

    assert str(caught.value).startswith(f"{name}='quorum'")
    assert "'redis://me:********@localhost/0'" in str(caught.value)
    assert f"leave {name} out, or set broker_url" in str(caught.value)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("variable", ["WORKERTOOLBOX_BROKER_URL", "CELERY_BROKER_URL"])
def test_the_broker_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "sqs://")
    monkeypatch.setenv("WORKERTOOLBOX_QUEUE_TYPE", "quorum")
    with pytest.raises(ConflictingSettings, match="queue_type='quorum'.*'sqs://'"):
        Config(["export"])


def test_the_broker_of_celerys_own_variable_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://localhost//")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = Config(["export"], queue_type="quorum", broker_url=REDIS)

    assert config.task_queues[0].queue_arguments == {"x-queue-type": "quorum"}


@pytest.mark.parametrize(
    "settings",
    [
        {},  # The app may name its broker, as in Celery(broker=…).
        {"broker_url": "amqp://localhost//"},
        {"broker_url": "amqps://localhost//;pyamqp://localhost//"},
        {"broker_url": "localhost"},
        {"broker_url": "memory://"},
        {"broker_url": REDIS, "broker_transport": "pyamqp"},
        {"broker_url": REDIS, "broker_transport": "export.transport:Transport"},
    ],
)
def test_quorum_queues_are_accepted_if_the_broker_may_be_rabbitmq(
    settings: dict[str, Any],
) -> None:
    config = Config(["export"], queue_type="quorum", **settings)

    assert config.task_queues[0].queue_arguments == {"x-queue-type": "quorum"}


def test_a_transport_wins_over_the_url() -> None:
    with pytest.raises(ConflictingSettings, match="'redis://'"):
        Config(
            ["export"],
            queue_type="quorum",
            broker_url="amqp://localhost//",
            broker_transport="redis",
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (attributes(FifoQueue="true"), r"FifoQueue='true'.*'export'.*'export\.fifo'"),
        (
            attributes(DeduplicationScope="queue") | {"PLATFORM_QUEUE_NAME": "m"},
            r"DeduplicationScope='queue'.*give a queue such a name",
        ),
        (
            predefined({"export": "https://sqs/1/export.fifo"}),
            r"'export' has the url 'https://sqs/1/export\.fifo'",
        ),
        (
            predefined({"platform.fifo": "https://sqs/1/platform"}),
            r"'platform\.fifo' has the url 'https://sqs/1/platform'",
        ),
    ],
)
def test_fifo_without_the_suffix_is_an_error_that_names_the_queue(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConflictingSettings, match=message):
        Config(["export"], **settings)


@pytest.mark.parametrize(
    ("queue", "settings"),
    [
        ("export.fifo", attributes(FifoQueue="true")),
        ("export", attributes(FifoQueue="false")),
        ("export", attributes(DeduplicationScope="queue")),
        ("export", attributes(KmsMasterKeyId="x") | {"PLATFORM_QUEUE_NAME": "m"}),
        ("export", predefined({"platform.fifo": "https://sqs/1/platform.fifo"})),
    ],
)
def test_fifo_with_the_suffix_is_accepted(queue: str, settings: dict[str, Any]) -> None:
    assert Config([queue], **settings).QUEUES == (queue,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("geheim", "broker_transport_options has type str"),
        (
            {"sqs-creation-attributes": "geheim"},
            "sqs-creation-attributes in .* type str",
        ),
        (
            {"predefined_queues": ["celery", "geheim", "platform.fifo"]},
            "predefined_queues in .* has type list",
        ),
    ],
)
def test_transport_options_of_a_wrong_type_are_an_error_that_does_not_show_them(
    options: Any, message: str
) -> None:
    with pytest.raises(InvalidValue, match=message) as caught:
        Config(["geheim"], broker_transport_options=options)

    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        (
            {"task_annotations": {"a.b": {"serializer": "pickle"}}},
            "task_annotations['a.b']",
        ),
        (
            {"task_annotations": {"a.c": {"serializer": "application/json"}}},
            "task_annotations['a.c']",
        ),
        (
            {"task_routes": [{"a.b": {"queue": "export", "serializer": "yaml"}}]},
            "task_routes['a.b']",
        ),
        (
            {"task_routes": ([("a.*", "export"), ("a.b", {"serializer": "pickle"})],)},
            "task_routes['a.b']",
        ),
        (
            {
                "beat_schedule": {
                    "x": {"task": "a.b", "options": {"serializer": "pickle"}}
                }
            },
            "beat_schedule['x']['options']",
        ),
    ],
)
def test_a_task_with_another_serializer_is_an_error_that_says_where(
    settings: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidValue, match="JSON only") as caught:
        Config(["export"], **settings)

    assert str(caught.value).startswith(f"{place} has serializer='")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_serializer", "pickle"),
        ("result_serializer", "pickle"),
        ("event_serializer", "pickle"),
        ("accept_content", ["json", "pickle"]),
        ("result_accept_content", ["application/x-python-serialize"]),
    ],
)
def test_pickle_is_an_error_in_every_setting(name: str, value: Any) -> None:
    with pytest.raises(InvalidSetting, match=f"^{name}=.*JSON only"):
        Config(["export"], **{name: value})


def test_options_given_as_objects_or_functions_are_accepted() -> None:
    def route(*_: object, **__: object) -> None: ...

    settings: dict[str, Any] = {
        "task_annotations": [object()],
        "task_routes": [route, [("a.b", {"queue": "export"})], {"a.c": "export"}],
        "beat_schedule": {"x": {"task": "a.b", "schedule": 10}, "y": object()},
    }

    assert Config(["export"], **settings).beat_schedule["x"]["schedule"] == 10
