"""Whether exchange, queues and bindings are as declared.

What a broker tells of that differs. RabbitMQ says whether exchange and queues are there
and of the configured kind, but not what is bound: a work queue that is there is bound
again, which changes nothing where it was, and of the monitor's binding the probe tells.
Redis and the file system keep a table of bindings, which is read. On SQS there are
queues only: each client makes copies by a table of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from amqp.exceptions import AMQPError, NotFound
from kombu import Queue
from kombu.transport.virtual import Channel

from cadasta.workertoolbox.conf._brokers.connection import error_text
from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import (
    Finding,
    Status,
    failed,
    ok,
    warning,
)
from cadasta.workertoolbox.routing import EXCHANGE

_DECLARE = "publish a task on a new connection, or call setup_app: both declare it"


def topology(context: CheckContext) -> Iterator[Finding]:
    """Look at the exchange and at each queue."""
    match context.kind:
        case "amqp":
            found = list(_on_rabbitmq(context))
        case "redis" | "filesystem":
            found = list(_in_table(context))
        case "sqs":
            found = list(_on_sqs(context))
        case _:
            yield ok("exchange", "each client has its own, and declares it")
            return
    if all(each.status is Status.FAILED for each in found):
        yield warning("exchange", "nothing is declared yet", _DECLARE)
    else:
        yield from found


def _on_rabbitmq(context: CheckContext) -> Iterator[Finding]:
    exchange = context.queues[0].exchange

    def exchange_is_there(channel: Any) -> None:
        exchange(channel).declare(passive=True)

    def exchange_is_equal(channel: Any) -> None:
        exchange(channel).declare()

    is_there, findings = _tried(
        context, "exchange", repr(EXCHANGE), [exchange_is_there, exchange_is_equal]
    )
    yield from findings or [ok("exchange", f"{EXCHANGE!r} is there, a topic exchange")]
    for queue in context.queues:
        yield from _queue_on_rabbitmq(context, queue, bind=is_there)


def _queue_on_rabbitmq(
    context: CheckContext, queue: Queue, *, bind: bool
) -> Iterator[Finding]:
    def is_there(channel: Any) -> None:
        queue(channel).queue_declare(passive=True)

    def is_equal(channel: Any) -> None:
        queue(channel).queue_declare()

    def is_bound(channel: Any) -> None:
        queue(channel).queue_bind()

    steps: list[Callable[[Any], None]] = [is_there, is_equal]
    detail = "is there, as configured"
    if queue != context.monitor_queue and bind:
        steps.append(is_bound)
        detail += f", and bound by {queue.routing_key!r} (again: RabbitMQ is silent)"
    check = f"queue {queue.name}"
    _, findings = _tried(context, check, "the queue", steps)
    yield from findings or [ok(check, detail)]


def _tried(
    context: CheckContext, check: str, what: str, steps: list[Callable[[Any], None]]
) -> tuple[bool, list[Finding]]:
    for step in steps:
        try:
            # A channel for each: RabbitMQ closes the one it refuses something on.
            with context.opened() as channel:
                step(channel)
        except NotFound:
            return False, [failed(check, f"{what} is not there", _DECLARE)]
        except AMQPError as error:
            advice = "delete it there if it was made otherwise, or allow this user to"
            detail = f"{what} is refused: {error_text(error)}"
            return True, [failed(check, detail, advice)]
    return True, []


def _in_table(context: CheckContext) -> Iterator[Finding]:
    channel: Channel = context.channel
    bound = {(key, queue) for key, _, queue in channel.get_table(EXCHANGE)}
    for queue in context.queues:
        key = queue.routing_key
        detail = f"bound to {EXCHANGE!r} by {key!r}"
        if (key, queue.name) in bound:
            yield ok(f"queue {queue.name}", detail)
        else:
            yield failed(f"queue {queue.name}", f"not {detail}", _DECLARE)


def _on_sqs(context: CheckContext) -> Iterator[Finding]:
    from kombu.transport.SQS.exceptions import DoesNotExistQueueException

    for queue in context.queues:
        check = f"queue {queue.name}"
        name = context.channel.canonical_queue_name(queue.name)
        try:
            context.channel._resolve_queue_url(queue.name)
        except DoesNotExistQueueException:
            yield failed(check, f"there is no {name!r}", _DECLARE)
        else:
            yield ok(check, f"{name!r} is there")
