"""Publish task messages to declared queues only, complete and with their declaration.

Celery passes every task message to `AMQP.send_task_message`, whatever sends it. No
signal and no setting can refuse a message there: receivers of `before_task_publish`
cannot raise errors, and options of a task, the argument `router=` and a later
`app.conf.task_routes = …` win over the router of the configuration. So the methods that
make Celery's sender and its routes are replaced. Other apps of the process keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from celery.app import routes
from celery.app.amqp import AMQP
from celery.utils.functional import maybe_list

from cadasta.workertoolbox.routing._destination import OPTIONS, is_delayed
from cadasta.workertoolbox.routing._errors import NotJSON
from cadasta.workertoolbox.routing._fixed_settings import (
    check_protocol,
    check_unchanged,
)
from cadasta.workertoolbox.routing._headers import (
    PUBLISHED_AT,
    QUEUE,
    RESULTS_ELSEWHERE,
    SERVICE,
    SERVICE_VERSION,
)
from cadasta.workertoolbox.routing._ids import check_message_ids
from cadasta.workertoolbox.routing._results_elsewhere import results_elsewhere
from cadasta.workertoolbox.routing._router import Router, find_router
from cadasta.workertoolbox.routing._scheduled_runs import describe_message

_amqp: Any = AMQP
_flush_plain_routes = _amqp.flush_routes
_create_plain_sender = _amqp._create_task_sender


def install() -> None:
    """Track what the toolbox's apps publish, in this process."""
    _amqp.flush_routes = _flush_routes
    _amqp._create_task_sender = _create_task_sender


def _flush_routes(amqp: Any) -> None:
    """Prepare the routes of an app: its router comes first, also after a change."""
    router = find_router(amqp.app.conf)
    if router is None or router in (maybe_list(amqp.app.conf.task_routes) or ()):
        _flush_plain_routes(amqp)
    else:
        amqp._rtable = routes.prepare((router,))


def _create_task_sender(amqp: Any) -> Callable[..., Any]:
    """Return the function that Celery calls to publish a task message.

    Raises:
        InvalidSetting: A setting that tracking depends on was changed after the
            configuration.
    """
    send: Callable[..., Any] = _create_plain_sender(amqp)
    router = find_router(amqp.app.conf)
    if router is None:
        return send
    if "PLATFORM_QUEUE_NAME" in amqp.app.conf:
        check_unchanged(amqp.app.conf, router.default)
    sender = {
        SERVICE: amqp.app.main,
        SERVICE_VERSION: amqp.app.conf.get("SERVICE_VERSION"),
    }
    elsewhere = results_elsewhere(amqp.app.conf.result_backend)

    def send_task_message(
        producer: Any,
        name: str,
        message: Any,
        exchange: Any = None,
        routing_key: Any = None,
        queue: Any = None,
        **options: Any,
    ) -> Any:
        options.update(exchange=exchange, routing_key=routing_key, queue=queue)
        _check_content(message, name, options)
        _complete(message, options, sender)
        _set(message.headers, RESULTS_ELSEWHERE, elsewhere)
        routed = _routed(router, name, message, options)
        return send(producer, name, message, **routed)

    return send_task_message


def _routed(
    router: Router, name: str, message: Any, options: dict[str, Any]
) -> dict[str, Any]:
    """Return the options of a publish, with the destination that they name.

    A routing key that is not the name of the queue is completed by a header.

    Raises:
        UnknownQueue: They name a queue that is not declared.
        UntrackedExchange: They name an exchange that sends the monitor no copies.
    """
    found = router.find_destination(options, name)
    destination = found or router.destination_for(name)
    queue = destination.queue
    message.headers.pop(QUEUE, None)
    if destination.routing_key != queue.name:
        message.headers[QUEUE] = queue.name
    delayed = is_delayed(options)
    others = {key: value for key, value in options.items() if key not in OPTIONS}
    names = ("exchange", "routing_key")
    place = {key: options[key] for key in names} if delayed else destination.options
    declare = router.declarations(queue, is_delayed=delayed)
    return {**others, **place, "declare": declare}


def _check_content(message: Any, name: str, options: dict[str, Any]) -> None:
    """Refuse a message that the monitor cannot read.

    Raises:
        InvalidSetting: The message is one of protocol 1.
        NotJSON: The options name a serializer or a content type other than JSON.
    """
    if "task" not in message.headers:
        check_protocol({"task_protocol": 1})
    for option in ("serializer", "content_type"):
        if options.get(option) not in (None, "json"):
            raise NotJSON(str(options[option]), name)


def _complete(
    message: Any, options: dict[str, Any], sender: Mapping[str, str | None]
) -> None:
    """Complete the headers of a message, and check the ids in it.

    Args:
        sender: The headers with the name and the version of the publishing service.

    Raises:
        InvalidID: An id cannot be stored.
    """
    # RabbitMQ would drop the monitor's copy when the task expires. Workers use the
    # header `expires` instead, and store that they have revoked the task.
    message.properties.pop("expiration", None)
    options.pop("expiration", None)
    message.headers.update(options.pop("headers", None) or {})
    message.headers[PUBLISHED_AT] = datetime.now(UTC).isoformat()
    _name_sender(message.headers, sender)
    describe_message(message.headers)
    check_message_ids(message.headers, message.body[2])
    message.properties["correlation_id"] = message.headers["id"]


def _name_sender(headers: dict[str, Any], sender: Mapping[str, str | None]) -> None:
    """Add the name and the version of the service, except to the retry of a task.

    As with `origin`, a retry keeps those of the service that published the task first:
    Celery passes them on with the headers of the user.
    """
    is_again = headers.get("retries") or headers.get("replaced_task_nesting")
    if is_again and SERVICE in headers:
        return
    for header, value in sender.items():
        _set(headers, header, value)


def _set(headers: dict[str, Any], header: str, value: str | None) -> None:
    """Set a header, or remove the one that a retry keeps from the message before."""
    headers.pop(header, None)
    if value:
        headers[header] = value
