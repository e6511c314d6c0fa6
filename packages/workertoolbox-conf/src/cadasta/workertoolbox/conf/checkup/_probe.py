"""A message by the way that tasks go, which no worker gets.

A worker would take a message out of a work queue and complain, so none is sent to one.

On RabbitMQ, one probe goes to the exchange by a routing key that is nobody's: only what
is bound by `#` gets it, and RabbitMQ says if nothing is. Another is for a queue of its
own, exclusive and gone with the check-up, from where it is taken. On Redis, in a folder
and in memory, where the client makes the copies, it is the second alone, by the code
that sends tasks. On SQS and in a SQL database, where a queue is costly or stays, the
client's code sends the copy alone.

The copies in the monitor queue are known by a header: a monitor drops them. Where there
is none they expire on RabbitMQ, and wait for the next monitor elsewhere.
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

#: Milliseconds after which RabbitMQ drops a probe at the head of a queue.
_EXPIRATION = "1000"

_UNDECLARED = "nothing is declared yet"


def probe(context: CheckContext) -> Iterator[Finding]:
    """Send a probe, and take it out again."""
    match context.kind:
        case "amqp":
            yield from _through_rabbitmq(context)
        case "sqs" | "sql":
            yield from _to_the_monitor(context)
        case _:
            yield from _through_the_client(context)


def _through_rabbitmq(context: CheckContext) -> Iterator[Finding]:
    monitor, name = context.monitor_queue.name, _name()
    try:
        with context.opened() as channel:
            channel.exchange_declare(EXCHANGE, "topic", passive=True)
            _publish(channel, name, expiration=_EXPIRATION)
    except NotFound:
        yield skipped("probe", _UNDECLARED)
        return
    except Unroutable:
        yield failed(
            "probe",
            f"{EXCHANGE!r} has no queue bound by '#': the monitor gets no copies",
            f"bind {monitor!r} to it by '#', or call setup_app, which does",
        )
        return
    copied = f"{EXCHANGE!r} has a queue bound by '#' that got it"
    try:
        with context.opened() as channel:
            channel.queue_declare(name, exclusive=True, auto_delete=True)
            channel.queue_bind(name, EXCHANGE, name)
            _publish(channel, name, expiration=_EXPIRATION)
            message = channel.basic_get(name, no_ack=True)
    except AccessRefused as error:
        yield warning(
            "probe",
            f"{copied}; no queue of its own could be made: {error_text(error)}",
            "nothing, if this user is to make no queue but those of the toolbox",
        )
        return
    yield _arrived(message, name, f"{copied}; so did a queue bound by its routing key")


def _through_the_client(context: CheckContext) -> Iterator[Finding]:
    monitor, name = context.monitor_queue.name, _name()
    with context.opened() as channel:
        if context.kind != "memory" and not channel.get_table(EXCHANGE):
            yield skipped("probe", _UNDECLARED)
            return
        channel.copy_failure = "raise"
        context.queues[0].exchange(channel).declare()
        channel.queue_declare(name)
        channel.queue_bind(name, EXCHANGE, name)
        channel.queue_bind(monitor, EXCHANGE, "#")
        try:
            _publish(channel, name)
            message = channel.basic_get(name)
            if message is not None:
                channel.basic_ack(message.delivery_tag)
        except CopyFailed as error:
            yield _uncopied(monitor, error)
        else:
            detail = f"taken from a queue of its own, with a copy put into {monitor!r}"
            yield _arrived(message, name, detail)
        finally:
            channel.queue_delete(name)


def _to_the_monitor(context: CheckContext) -> Iterator[Finding]:
    monitor = context.monitor_queue.name
    with context.opened() as channel:
        if context.kind == "sqs":
            whole = channel.canonical_queue_name(monitor)
            if whole not in channel._queue_cache:
                yield skipped("probe", _UNDECLARED)
                return
        channel.copy_failure = "raise"
        message = _message(channel, _name())
        channel._inplace_augment_message(message, EXCHANGE, message["headers"][PROBE])
        try:
            channel.put_task(message, [], [monitor])
        except CopyFailed as error:
            yield _uncopied(monitor, error)
        else:
            detail = f"a copy was put into {monitor!r}; none is sent to a work queue"
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


def _arrived(message: Any, name: str, detail: str) -> Finding:
    if message is not None and message.headers.get(PROBE) == name:
        return ok("probe", detail)
    return failed(
        "probe",
        f"a message to {EXCHANGE!r} did not come to the queue that was bound for it",
        "look at the exchange's type and policies",
    )


def _uncopied(monitor: str, error: CopyFailed) -> Finding:
    return failed(
        "probe",
        f"no copy can be put into {monitor!r}: {error.reason}",
        f"let this service write to {monitor!r}",
    )
