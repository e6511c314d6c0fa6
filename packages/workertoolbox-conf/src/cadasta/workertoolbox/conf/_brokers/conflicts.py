"""Refuse settings that exclude each other."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from cadasta.workertoolbox.conf._brokers.profiles import QUEUE_TYPES
from cadasta.workertoolbox.conf._brokers.task_options import task_options
from cadasta.workertoolbox.conf._brokers.urls import (
    RABBITMQ_SCHEMES,
    named_urls,
    scheme,
    transport_option,
)
from cadasta.workertoolbox.conf._brokers.visibility import check_visibility
from cadasta.workertoolbox.conf._errors import ConflictingSettings, InvalidValue
from cadasta.workertoolbox.routing import FIFO_ATTRIBUTES, mask_url


def check_conflicts(values: Mapping[str, Any], given: Container[str]) -> None:
    """Refuse settings that make other settings useless or harmful.

    Args:
        values: Settings and variables that routing has accepted, rendered.
        given: The names that a keyword or the environment gives.

    Raises:
        ConflictingSettings: Quorum queues with a broker other than RabbitMQ, FIFO for a
            queue whose name does not end in `.fifo`, or a visibility timeout that is
            shorter than a task may take or wait.
        InvalidValue: A task has a serializer other than JSON, or the visibility timeout
            is not a number.
    """
    urls = named_urls(values, given)
    _check_serializers(values)
    _check_queue_types(values, urls)
    _check_fifo_attributes(values)
    _check_fifo_urls(values)
    check_visibility(values, urls)


def _check_serializers(values: Mapping[str, Any]) -> None:
    for place, options in task_options(values):
        serializer = options.get("serializer", "json")
        # The content type is refused too: kombu accepts it for reading only.
        if serializer != "json":
            raise InvalidValue(
                f"{place} has serializer={serializer!r}, but the toolbox uses JSON "
                "only; leave the serializer out"
            )


def _check_queue_types(values: Mapping[str, Any], urls: list[str]) -> None:
    # The memory transport of tests stands for any broker.
    others = [
        url for url in urls if scheme(url) not in RABBITMQ_SCHEMES | {"memory", ""}
    ]
    for name in QUEUE_TYPES:
        if values.get(name) == "quorum" and others:
            raise ConflictingSettings(
                f"{name}='quorum' is for RabbitMQ, but the broker is "
                f"{mask_url(others[0])!r}, which has no quorum queues; leave {name} "
                "out, or set broker_url to RabbitMQ's, as in 'amqp://…'"
            )


def _check_fifo_attributes(values: Mapping[str, Any]) -> None:
    attributes = transport_option(values, "sqs-creation-attributes")
    is_fifo = str(attributes.get("FifoQueue", "")).lower() == "true"
    work_queues = [getattr(queue, "name", queue) for queue in values["QUEUES"]]
    for name in work_queues:
        if is_fifo and not name.endswith(".fifo"):
            raise ConflictingSettings(
                f"FifoQueue={attributes['FifoQueue']!r} in sqs-creation-attributes "
                f"does not make {name!r} a FIFO queue, because SQS decides by the "
                f"name; leave the attribute out, and name the queue '{name}.fifo'"
            )
    names = [*work_queues, values["PLATFORM_QUEUE_NAME"]]
    useless = sorted(FIFO_ATTRIBUTES & attributes.keys())
    if useless and not any(name.endswith(".fifo") for name in names):
        raise ConflictingSettings(
            f"{useless[0]}={attributes[useless[0]]!r} in sqs-creation-attributes is "
            "for FIFO queues, but no queue's name ends in '.fifo'; leave it out, or "
            "give a queue such a name"
        )


def _check_fifo_urls(values: Mapping[str, Any]) -> None:
    for name, queue in transport_option(values, "predefined_queues").items():
        url = str(queue.get("url") or name) if isinstance(queue, Mapping) else name
        if url.endswith(".fifo") != name.endswith(".fifo"):
            raise ConflictingSettings(
                f"predefined queue {name!r} has the url {mask_url(url)!r}, but kombu "
                "decides by the name whether a queue is FIFO; let both end in '.fifo', "
                "or neither of them"
            )
