"""Settings that tracking depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu import Queue

from cadasta.workertoolbox.routing._errors import InvalidSetting
from cadasta.workertoolbox.routing._json_only import check_serializers
from cadasta.workertoolbox.routing._task_queue import EXCHANGE, bindings_of
from cadasta.workertoolbox.routing._topology import DEFAULT_QUEUE

#: Version of Celery's task messages that monitors and workers read: the headers have
#: the id, the name and the lineage of the task.
PROTOCOL = 2

#: Celery's settings of the default destination, if the user sets none of them.
DEFAULT_DESTINATION = {
    "task_default_queue": DEFAULT_QUEUE,
    "task_default_exchange": EXCHANGE,
    "task_default_exchange_type": "topic",
    "task_default_routing_key": DEFAULT_QUEUE,
}


def default_destination(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return Celery's settings of the default destination; the user's own win.

    Queues that name no exchange have the exchange of these settings. As in Celery, it
    is named like the default queue and of type `direct`, unless the settings say
    otherwise; if they do not mention it, it is the task exchange.

    Args:
        settings: The settings that are given to `Routing`.
    """
    queue, exchange, kind, key = map(settings.get, DEFAULT_DESTINATION)
    queue = queue or DEFAULT_QUEUE
    is_own = exchange or kind
    values = (
        queue,
        (exchange or queue) if is_own else EXCHANGE,
        (kind or "direct") if is_own else "topic",
        key or queue,
    )
    return dict(zip(DEFAULT_DESTINATION, values, strict=True))


def check_given(settings: Mapping[str, Any]) -> None:
    """Refuse settings with which tasks would not be tracked.

    Args:
        settings: The settings that are given to `Routing`.

    Raises:
        InvalidSetting: One of them would break tracking.
    """
    if "task_queues" in settings:
        raise InvalidSetting(
            f"task_queues={settings['task_queues']!r} would bypass the monitor; list "
            "the queues, names or Queue objects, in queues=[…] instead"
        )
    check_protocol(settings)
    check_serializers(settings)


def check_unchanged(conf: Mapping[str, Any], default: Mapping[str, str]) -> None:
    """Refuse to publish with settings that were changed after the configuration.

    Args:
        conf: The settings of an app, `app.conf`.
        default: The settings of the default destination when the app was configured.

    Raises:
        InvalidSetting: A setting that tracking depends on was changed.
    """
    for name, value in default.items():
        if conf[name] != value:
            raise _changed(name, conf[name])
    queues = conf["task_queues"]
    work_queues = (default["task_default_queue"], *conf["QUEUES"])
    keys = {**{name: name for name in work_queues}, conf["PLATFORM_QUEUE_NAME"]: "#"}
    if [_task_key(queue) for queue in queues] != list(keys.items()):
        raise _changed("task_queues", [queue.name for queue in queues])
    check_protocol(conf)
    check_serializers({"task_serializer": conf["task_serializer"]})


def check_protocol(settings: Mapping[str, Any]) -> None:
    """Refuse task messages of version 1, which have no headers.

    Raises:
        InvalidSetting: `task_protocol` is another version than `PROTOCOL`.
    """
    version = settings.get("task_protocol", PROTOCOL)
    if version != PROTOCOL:
        raise InvalidSetting(
            f"task_protocol={version!r} is not supported: the monitor reads messages "
            f"of version {PROTOCOL} only; leave it out"
        )


def _task_key(queue: Queue) -> tuple[str, str | None]:
    """Return a queue's name, and the key by which the task exchange knows it."""
    for each in bindings_of(queue):
        if each.exchange.name == EXCHANGE:
            return queue.name, each.routing_key
    return queue.name, None


def _changed(name: str, value: object) -> InvalidSetting:
    return InvalidSetting(
        f"{name}={value!r} was set after the configuration and would bypass the "
        "monitor; remove it, and list the work queues in queues=[…]"
    )
