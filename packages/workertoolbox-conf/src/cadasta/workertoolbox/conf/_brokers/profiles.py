"""Presets: settings that depend on the broker, each with its reason."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cadasta.workertoolbox.conf._brokers.urls import (
    RABBITMQ_SCHEMES,
    named_urls,
    scheme,
)
from cadasta.workertoolbox.conf._brokers.visibility import VISIBILITY_S

SQS = "SQS"
CLASSIC = "RabbitMQ classic"
QUORUM = "RabbitMQ quorum"
REDIS = "Redis"

#: Settings that can request quorum queues.
QUEUE_TYPES = (
    "queue_type",
    "task_default_queue_type",
    "task_create_missing_queue_type",
)

#: The brokers that have a profile.
BROKERS = (SQS, CLASSIC, QUORUM, REDIS)


@dataclass(frozen=True)
class Preset:
    """A setting that suits a broker better than Celery's default.

    Attributes:
        setting: The name of the setting; that of an option in it follows after a dot.
        value: The value, unless a keyword or the environment gives one.
        reason: Why, for the table in the README, as Markdown.
        brokers: The brokers that it is for. If empty, it is for every broker, including
            the file system.
        needs_acks_late: Whether it applies only with `task_acks_late`, and without
            `task_reject_on_worker_lost`.
        needs_broker_url: Whether it applies only if a broker URL is named. Without
            one, only the app knows the broker, and the setting would harm any broker
            but SQS.
    """

    setting: str
    value: Any
    reason: str
    brokers: tuple[str, ...] = ()
    needs_acks_late: bool = False
    needs_broker_url: bool = False


PRESETS = (
    Preset(
        "broker_connection_retry_on_startup",
        True,
        "a worker that starts before its broker waits for it",
    ),
    Preset(
        "task_retry_on_worker_lost",
        True,
        "a task whose process was killed runs again, as a retry that is tracked and "
        "that `max_retries` limits. `task_reject_on_worker_lost` has no limit: a task "
        "that kills its process would run again and again",
        needs_acks_late=True,
    ),
    Preset(
        "worker_prefetch_multiplier",
        1,
        "a prefetched message waits behind a long task while other workers are idle, "
        "and its visibility timeout runs meanwhile. Celery's 4 suits very short tasks, "
        "but does not speed up SQS: two processes run 76 empty tasks a second with 1, "
        "and 75 with 4 (measured with moto; 2 and 8 with kombu's own transport, which "
        "looks for room once a second)",
        BROKERS,
    ),
    Preset(
        "task_publish_retry_policy",
        {
            "max_retries": 5,
            "interval_start": 0.2,
            "interval_step": 0.4,
            "interval_max": 2,
        },
        "retries for 5 seconds, about as long as a restart or a failover takes. Celery "
        "retries for 0.6 seconds, and then loses the next step of a chain",
        BROKERS,
    ),
    Preset(
        "broker_transport_options.confirm_publish",
        True,
        "without confirms, a message that the broker loses is lost silently",
        (CLASSIC, QUORUM),
    ),
    Preset(
        "broker_heartbeat",
        30,
        "seconds: a dead connection is noticed within a minute. With Celery's 120, "
        "which RabbitMQ lowers to 60, it takes two. A lower value would disconnect a "
        "`solo` worker, which sends no heartbeat while a task runs",
        (CLASSIC, QUORUM),
    ),
    Preset(
        "worker_detect_quorum_queues",
        True,
        "quorum queues need a prefetch limit per consumer, and their ETA tasks wait in "
        "the broker",
        (QUORUM,),
    ),
    Preset(
        "broker_transport_options.visibility_timeout",
        VISIBILITY_S["redis"],
        "seconds, kombu's default: a message that a killed worker held is delivered "
        "again after this time, and with `task_acks_late` a longer task runs twice",
        (REDIS,),
        needs_broker_url=True,
    ),
    Preset(
        "broker_transport_options.socket_keepalive",
        True,
        "firewalls drop idle connections",
        (REDIS,),
        needs_broker_url=True,
    ),
    Preset(
        "broker_transport_options.socket_connect_timeout",
        5,
        "seconds. By default the kernel's timeout of two minutes applies",
        (REDIS,),
        needs_broker_url=True,
    ),
    Preset(
        "broker_transport_options.socket_timeout",
        30,
        "seconds. Without it, publishing on a dead connection blocks forever, and "
        "kombu's health checks do not run",
        (REDIS,),
        needs_broker_url=True,
    ),
    Preset(
        "broker_transport_options.visibility_timeout",
        VISIBILITY_S["sqs"],
        "seconds, kombu's default, for queues that it creates; as for Redis. "
        "Predefined queues keep the timeout that they were created with",
        (SQS,),
        needs_broker_url=True,
    ),
    Preset(
        "broker_transport_options.wait_time_seconds",
        10,
        "seconds, kombu's default. 20, the maximum of SQS, saves empty receives, "
        "but delays the shutdown of a monitor, and of a worker that reads several "
        "queues without an event loop, by as long",
        (SQS,),
    ),
    Preset(
        "broker_transport_options.client-config.connect_timeout",
        5,
        "seconds; botocore's default is 60",
        (SQS,),
    ),
    Preset(
        "broker_transport_options.client-config.read_timeout",
        30,
        "seconds: longer than the longest poll, half of botocore's default",
        (SQS,),
    ),
    Preset(
        "broker_transport_options.client-config.tcp_keepalive",
        True,
        "firewalls drop idle connections",
        (SQS,),
    ),
    Preset(
        "worker_enable_remote_control",
        False,
        "SQS does not support remote control",
        (SQS,),
        needs_broker_url=True,
    ),
    Preset(
        "worker_send_task_events",
        False,
        "SQS does not support events; the monitor gets copies instead",
        (SQS,),
        needs_broker_url=True,
    ),
)

_BY_SCHEME = {
    **dict.fromkeys(RABBITMQ_SCHEMES, CLASSIC),
    **dict.fromkeys(("redis", "rediss", "sentinel"), REDIS),
    "sqs": SQS,
}


def with_profile(values: Mapping[str, Any], given: Container[str]) -> dict[str, Any]:
    """Return settings, with presets of their broker for the ones that are not given.

    Args:
        values: Every setting, of types that have been checked.
        given: The names that a keyword or the environment gives.
    """
    completed = dict(values)
    for preset in _applicable(values, given):
        _set_default(completed, preset.setting.split("."), preset.value)
    return completed


def _applicable(values: Mapping[str, Any], given: Container[str]) -> Iterator[Preset]:
    urls = named_urls(values, given)
    broker = _broker(urls or ["sqs://"], values)
    is_late = values.get("task_acks_late") and "task_reject_on_worker_lost" not in given
    options = values.get("broker_transport_options") or {}
    for preset in PRESETS:
        is_for_created_queues = preset.setting.endswith(".visibility_timeout")
        if (
            (not preset.brokers or broker in preset.brokers)
            and (is_late or not preset.needs_acks_late)
            and (urls or not preset.needs_broker_url)
            and not (is_for_created_queues and options.get("predefined_queues"))
        ):
            yield preset


def _broker(urls: list[str], values: Mapping[str, Any]) -> str | None:
    """Return the broker of all URLs; None if they are of several brokers."""
    brokers = {_BY_SCHEME.get(scheme(url)) for url in urls}
    if brokers == {CLASSIC} and "quorum" in map(values.get, QUEUE_TYPES):
        return QUORUM
    return brokers.pop() if len(brokers) == 1 else None


def _set_default(values: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a value that is missing, without changing nested dictionaries in place."""
    name, *rest = path
    if not rest:
        values.setdefault(name, value)
        return
    nested = values.get(name)
    if isinstance(nested, Mapping | None):
        values[name] = copy = dict(nested or {})
        _set_default(copy, rest, value)
