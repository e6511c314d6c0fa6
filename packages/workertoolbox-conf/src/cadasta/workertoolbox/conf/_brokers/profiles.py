"""Settings that depend on the broker, and why each is what it is."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cadasta.workertoolbox.conf._brokers.urls import RABBITMQ, named_urls, scheme
from cadasta.workertoolbox.conf._brokers.visibility import VISIBILITY_S

SQS = "SQS"
CLASSIC = "RabbitMQ classic"
QUORUM = "RabbitMQ quorum"
REDIS = "Redis"

#: The brokers that have a profile.
BROKERS = (SQS, CLASSIC, QUORUM, REDIS)


@dataclass(frozen=True)
class Preset:
    """A setting that an expert would make.

    Attributes:
        setting: Its name; that of an option follows after a dot.
        value: What holds where neither a keyword nor the environment gives it.
        reason: Why, as a phrase for the table in the README.
        brokers: Those it is for; every one, a folder too, where there are none.
        late: Only with `task_acks_late`, and without `task_reject_on_worker_lost`.
        named: Only where the broker is named: another one, which only the app knows,
            would suffer from it.
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
        "a task whose process is killed runs again, as a retry: `max_retries` bounds "
        "it, and each is tracked; `task_reject_on_worker_lost` has no bound, and a "
        "task that takes its process along would run for ever",
        needs_acks_late=True,
    ),
    Preset(
        "worker_prefetch_multiplier",
        1,
        "what is fetched ahead waits behind a long task while other workers are idle, "
        "and its visibility timeout runs; 4 is Celery's, for very short tasks",
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
        "5 seconds of waiting, as a restart or a failover takes; Celery's 0.6 lose the "
        "next step of a chain",
        BROKERS,
    ),
    Preset(
        "broker_transport_options.confirm_publish",
        True,
        "without it, what the broker loses is lost in silence",
        (CLASSIC, QUORUM),
    ),
    Preset(
        "broker_heartbeat",
        30,
        "seconds: a peer that is gone without a word is noticed within a minute; "
        "Celery's 120, of which RabbitMQ makes 60, take two. Not less, since a `solo` "
        "worker is silent while a task runs",
        (CLASSIC, QUORUM),
    ),
    Preset(
        "worker_detect_quorum_queues",
        True,
        "such queues take a limit for each consumer only, and delay tasks in the "
        "broker",
        (QUORUM,),
    ),
    Preset(
        "broker_transport_options.visibility_timeout",
        VISIBILITY_S["redis"],
        "seconds, kombu's own: what a killed worker held comes again after that, and "
        "with `task_acks_late` what takes longer runs twice",
        (REDIS,),
        needs_broker_url=True,
    ),
    Preset(
        "broker_transport_options.socket_keepalive",
        True,
        "a connection that is idle is not forgotten by a firewall on the way",
        (REDIS,),
        needs_broker_url=True,
    ),
    Preset(
        "broker_transport_options.socket_connect_timeout",
        5,
        "seconds; kombu's client waits as long as the kernel does, two minutes",
        (REDIS,),
        needs_broker_url=True,
    ),
    Preset(
        "broker_transport_options.socket_timeout",
        30,
        "seconds; without it a publish waits for ever on a connection that is dead, "
        "and kombu's checks of its health do not run",
        (REDIS,),
        needs_broker_url=True,
    ),
    Preset(
        "broker_transport_options.visibility_timeout",
        VISIBILITY_S["sqs"],
        "seconds, kombu's own, of queues that are made; as for Redis. Not with "
        "predefined queues, which have their own",
        (SQS,),
        needs_broker_url=True,
    ),
    Preset(
        "broker_transport_options.wait_time_seconds",
        10,
        "seconds, kombu's own; 20, SQS's most, has fewer empty answers to pay for, but "
        "keeps a monitor that is stopped, and a worker of several queues without an "
        "event loop, in a poll for as long",
        (SQS,),
    ),
    Preset(
        "broker_transport_options.client-config.connect_timeout",
        5,
        "seconds; 60 are botocore's",
        (SQS,),
    ),
    Preset(
        "broker_transport_options.client-config.read_timeout",
        30,
        "seconds: above the longest poll, and half of botocore's",
        (SQS,),
    ),
    Preset(
        "broker_transport_options.client-config.tcp_keepalive",
        True,
        "as for Redis",
        (SQS,),
    ),
    Preset(
        "worker_enable_remote_control",
        False,
        "it does not exist there",
        (SQS,),
        needs_broker_url=True,
    ),
    Preset(
        "worker_send_task_events",
        False,
        "events do not exist there; the monitor has its copies instead",
        (SQS,),
        needs_broker_url=True,
    ),
)

_BY_SCHEME = {
    **dict.fromkeys(RABBITMQ, CLASSIC),
    **dict.fromkeys(("redis", "rediss", "sentinel"), REDIS),
    "sqs": SQS,
}


def with_profile(values: Mapping[str, Any], given: Container[str]) -> dict[str, Any]:
    """Return settings with those of their broker where nothing else is given.

    Args:
        values: Every setting, of types that have been checked.
        given: The names that a keyword or the environment gives.
    """
    completed = dict(values)
    for preset in _chosen(values, given):
        _fill(completed, preset.setting.split("."), preset.value)
    return completed


def _chosen(values: Mapping[str, Any], given: Container[str]) -> Iterator[Preset]:
    urls = named_urls(values, given)
    broker = _broker(urls or ["sqs://"], values)
    is_late = values.get("task_acks_late") and "task_reject_on_worker_lost" not in given
    options = values.get("broker_transport_options") or {}
    for preset in PRESETS:
        if (
            (not preset.brokers or broker in preset.brokers)
            and (is_late or not preset.needs_acks_late)
            and (urls or not preset.needs_broker_url)
            and not (
                preset.setting.endswith(".visibility_timeout")
                and options.get("predefined_queues")
            )
        ):
            yield preset


def _broker(urls: list[str], values: Mapping[str, Any]) -> str | None:
    """Return the one broker that all URLs are of; None where they are of several."""
    brokers = {_BY_SCHEME.get(scheme(url)) for url in urls}
    if brokers == {CLASSIC} and values.get("queue_type") == "quorum":
        return QUORUM
    return brokers.pop() if len(brokers) == 1 else None


def _fill(values: dict[str, Any], path: list[str], value: Any) -> None:
    """Put a value where there is none, and leave the dictionaries in between alone."""
    name, *rest = path
    if not rest:
        values.setdefault(name, value)
        return
    within = values.get(name)
    if isinstance(within, Mapping | None):
        values[name] = inner = dict(within or {})
        _fill(inner, rest, value)
