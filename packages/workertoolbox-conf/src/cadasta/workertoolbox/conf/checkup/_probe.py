"""Send a message the way tasks are sent, to check that the monitor gets a copy.

No probe is sent to a work queue, where a worker would take it and log an error.

- RabbitMQ: the first probe goes to the exchange with a routing key that no work queue
  is bound by. Only queues bound by `#` get it, and RabbitMQ reports if there is none.
  The second probe goes to an exclusive queue, and is taken out of it.
- Redis, file system, memory: the client makes the copies. The code that sends tasks
  sends one probe to a temporary queue.
- SQS, SQL database: temporary queues are expensive or cannot be removed. The code that
  sends tasks sends the copy only.

Monitors recognize the copies by a header and drop them. Without a monitor, they expire
on RabbitMQ; on other brokers they wait for the next monitor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from amqp.exceptions import AccessRefused, NotFound

from cadasta.workertoolbox.conf._brokers.connection import error_text
from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import (
    Finding,
    failed,
    ok,
    skipped,
    warning,
)
from cadasta.workertoolbox.results import PROBE
from cadasta.workertoolbox.routing import EXCHANGE, CopyFailed, Unroutable

_UNDECLARED = "nothing is declared yet"

#: Milliseconds after which RabbitMQ drops a probe that no monitor has taken.
_EXPIRATION = "1000"


def probe(context: CheckContext) -> Iterator[Finding]:
    """Send a probe in the way that fits the broker."""
    match context.kind:
        case "amqp":
            yield from _probe_rabbitmq(context)
        case "sqs" | "sql":
            yield from _probe_monitor_queue(context)
        case _:
            yield from _probe_client(context)


def _probe_rabbitmq(context: CheckContext) -> Iterator[Finding]:
    monitor, name = context.monitor_queue.name, _name()
    try:
        with context.open_channel() as channel:
            channel.exchange_declare(EXCHANGE, "topic", passive=True)
            _publish(channel, name, expiration=_EXPIRATION)
    except NotFound:
        yield skipped("probe", _UNDECLARED)
        return
    except Unroutable:
        yield failed(
            "probe",
            f"{EXCHANGE!r} has no queue bound by '#': the monitor gets no copies",
            f"bind {monitor!r} to it by '#', or call setup_app, which does that",
        )
        return
    copied = f"a queue bound to {EXCHANGE!r} by '#' got a copy"
    try:
        with context.open_channel() as channel:
            channel.queue_declare(name, exclusive=True, auto_delete=True)
            channel.queue_bind(name, EXCHANGE, name)
            _publish(channel, name, expiration=_EXPIRATION)
            message = channel.basic_get(name, no_ack=True)
    except AccessRefused as error:
        yield warning(
            "probe",
            f"{copied}, but a temporary queue was refused: {error_text(error)}",
            "ignore this if the user may declare the queues of the toolbox only",
        )
        return
    yield _check_arrival(message, name, f"{copied}, and so did a temporary queue")


def _probe_client(context: CheckContext) -> Iterator[Finding]:
    monitor, name = context.monitor_queue.name, _name()
    with context.open_channel() as channel:
        if context.kind != "memory" and not channel.get_table(EXCHANGE):
            yield skipped("probe", _UNDECLARED)
            return
        channel.copy_failure = "raise"
        context.monitor_queue.exchange(channel).declare()
        channel.queue_declare(name)
        channel.queue_bind(name, EXCHANGE, name)
        channel.queue_bind(monitor, EXCHANGE, "#")
        try:
            _publish(channel, name)
            message = channel.basic_get(name)
            if message is not None:
                channel.basic_ack(message.delivery_tag)
        except CopyFailed as error:
            yield _copy_failed(monitor, error)
        else:
            detail = f"a temporary queue got the probe, and {monitor!r} a copy"
            yield _check_arrival(message, name, detail)
        finally:
            channel.queue_delete(name)


def _probe_monitor_queue(context: CheckContext) -> Iterator[Finding]:
    monitor = context.monitor_queue.name
    with context.open_channel() as channel:
        if context.kind == "sqs":
            canonical_name = channel.canonical_queue_name(monitor)
            if canonical_name not in channel._queue_cache:
                yield skipped("probe", _UNDECLARED)
                return
        channel.copy_failure = "raise"
        message = _message(channel, _name())
        channel._inplace_augment_message(message, EXCHANGE, message["headers"][PROBE])
        try:
            channel.put_task(message, [], [monitor])
        except CopyFailed as error:
            yield _copy_failed(monitor, error)
        else:
            detail = f"{monitor!r} got a copy; nothing is sent to a work queue"
            yield ok("probe", detail)


def _name() -> str:
    return f"workertoolbox-probe-{uuid4()}"


def _publish(channel: Any, name: str, **properties: str) -> None:
    message = _message(channel, name, **properties)
    channel.basic_publish(message, exchange=EXCHANGE, routing_key=name)


def _message(channel: Any, name: str, **properties: str) -> Any:
    return channel.prepare_message(
        "null",
        content_type="application/json",
        content_encoding="utf-8",
        headers={PROBE: name},
        properties={"delivery_mode": 1, **properties},
    )


def _check_arrival(message: Any, name: str, detail: str) -> Finding:
    if message is not None and message.headers.get(PROBE) == name:
        return ok("probe", detail)
    return failed(
        "probe",
        f"a message to {EXCHANGE!r} did not reach the queue that is bound for it",
        "check the type and the policies of the exchange",
    )


def _copy_failed(monitor: str, error: CopyFailed) -> Finding:
    return failed(
        "probe",
        f"no copy can be sent to {monitor!r}: {error.reason}",
        f"allow this service to send messages to {monitor!r}",
    )
