"""Settings that tracking depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cadasta.workertoolbox.routing._errors import InvalidSetting
from cadasta.workertoolbox.routing._json_only import check_serializers
from cadasta.workertoolbox.routing._topology import DEFAULT_QUEUE, EXCHANGE

#: Version of Celery's task messages that monitors and workers read: the headers have
#: the id, the name and the lineage of the task.
PROTOCOL = 2

#: Celery's settings of the default destination, with their only value.
DEFAULT_DESTINATION = {
    "task_default_queue": DEFAULT_QUEUE,
    "task_default_exchange": EXCHANGE,
    "task_default_exchange_type": "topic",
    "task_default_routing_key": DEFAULT_QUEUE,
}


def check_given(settings: Mapping[str, Any]) -> None:
    """Refuse settings with which tasks would not be tracked.

    Args:
        settings: The settings that are given to `Routing`.

    Raises:
        InvalidSetting: One of them would break tracking.
    """
    for name in ("task_queues", *DEFAULT_DESTINATION):
        if name in settings:
            raise InvalidSetting(
                f"{name}={settings[name]!r} would bypass the monitor; list the work "
                "queues in queues=[…] instead"
            )
    check_protocol(settings)
    check_serializers(settings)


def check_unchanged(conf: Mapping[str, Any]) -> None:
    """Refuse to publish with settings that were changed after the configuration.

    Args:
        conf: The settings of an app, `app.conf`.

    Raises:
        InvalidSetting: A setting that tracking depends on was changed.
    """
    for name, value in DEFAULT_DESTINATION.items():
        if conf[name] != value:
            raise _changed(name, conf[name])
    queues = [(queue.name, queue.exchange.name) for queue in conf["task_queues"]]
    names = (DEFAULT_QUEUE, *conf["QUEUES"], conf["PLATFORM_QUEUE_NAME"])
    if queues != [(name, EXCHANGE) for name in dict.fromkeys(names)]:
        raise _changed("task_queues", [name for name, _ in queues])
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


def _changed(name: str, value: object) -> InvalidSetting:
    return InvalidSetting(
        f"{name}={value!r} was set after the configuration and would bypass the "
        "monitor; remove it, and list the work queues in queues=[…]"
    )
