"""Check that the exchange, the queues and the bindings are as configured.

Brokers differ in what they report:

- RabbitMQ reports whether the exchange and the queues exist with the configured
  arguments, but not the bindings. Each work queue is bound again, which changes nothing
  if it was bound. The probe checks the binding of the monitor queue.
- Redis and the file system keep a table of bindings, which is read.
- SQS has queues only. Each client has its own table of bindings and makes the copies.

A monitor creates the monitor queue, and the first task of a service its work queues.
What is missing before that is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from amqp.exceptions import AMQPError, NotFound
from kombu import Queue
from kombu.transport.virtual import Channel

from cadasta.workertoolbox.conf._brokers.connection import error_text
from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import (
    Finding,
    failed,
    ok,
    warning,
)
from cadasta.workertoolbox.results import DatabaseUnavailable, TaskStore
from cadasta.workertoolbox.routing import EXCHANGE, bindings_of, sqs_name_problem

#: Number of queue names in one line.
_MAX_NAMES = 3

#: The advice about what does not exist.
_DECLARE = "publish a task on a new connection, or call setup_app: both declare it"

#: The advice if only the queue of the monitor does not exist.
_START_MONITOR = "start a monitor with `celery -A … tasks monitor`, which declares it"


def topology(context: CheckContext) -> Iterator[Finding]:
    """Check the exchange and each queue."""
    match context.kind:
        case "amqp":
            findings = list(_check_rabbitmq(context))
        case "redis" | "filesystem":
            findings = list(_check_binding_table(context))
        case "sqs":
            findings = list(_check_sqs(context))
        case _:
            yield ok("exchange", "each client declares an exchange of its own")
            return
    yield from _explain_missing(context, findings)
    yield from _check_names(context)


def _explain_missing(
    context: CheckContext, findings: list[Finding]
) -> Iterator[Finding]:
    """Yield the findings, with one warning for all that is created by the first use."""
    missing = {each.check for each in findings if each.advice == _DECLARE}
    monitor = f"queue {context.monitor_queue.name}"
    work_queues = {f"queue {each.name}" for each in context.queues} - {monitor}
    if monitor in missing and _is_unused(context, missing):
        yield warning(
            "exchange",
            "no monitor has run yet, and no task was published with the toolbox",
            "start a monitor with `celery -A … tasks monitor`, which creates "
            f"{context.monitor_queue.name!r}; the first task creates the rest",
        )
    elif missing == work_queues:
        yield warning(
            "exchange",
            "no task was published yet: the work queues are not declared",
            "ignore this before the first task, which declares them",
        )
    else:
        missing = set()
    for each in findings:
        if each.check not in missing:
            is_undeclared = each.check == monitor and each.advice == _DECLARE
            yield replace(each, advice=_START_MONITOR) if is_undeclared else each


def _is_unused(context: CheckContext, missing: set[str]) -> bool:
    """Return whether the toolbox has never been used here.

    A fleet that adopts the toolbox has work queues already.
    """
    if "exchange" in missing or len(missing) == len(context.queues):
        return True
    # SQS has no exchange: only the database knows whether a monitor has run.
    if context.kind != "sqs" or context.engine is None:
        return False
    try:
        return TaskStore.from_engine(context.engine).newest_task() is None
    except DatabaseUnavailable:
        return False


def _check_names(context: CheckContext) -> Iterator[Finding]:
    """Warn about names with which the service cannot move to SQS."""
    prefix = context.app.conf.broker_transport_options.get("queue_name_prefix", "")
    names = [
        repr(each.name)
        for each in context.queues
        if sqs_name_problem(each.name, prefix=prefix)
    ]
    if context.kind != "sqs" and names:
        shown = ", ".join(names[:_MAX_NAMES])
        more = len(names) - _MAX_NAMES
        others = f" and {more} more" if more > 0 else ""
        # In one line, because most fleets stay on their broker.
        detail = f"would need other names for {shown}{others}"
        yield warning("move to SQS", detail)


def _check_rabbitmq(context: CheckContext) -> Iterator[Finding]:
    exchange = context.monitor_queue.exchange

    def declare_passively(channel: Any) -> None:
        exchange(channel).declare(passive=True)

    def declare(channel: Any) -> None:
        exchange(channel).declare()

    steps: list[Callable[[Any], None]] = [declare_passively, declare]
    exists, findings = _run_steps(context, "exchange", f"exchange {EXCHANGE!r}", steps)
    yield from findings or [ok("exchange", f"topic exchange {EXCHANGE!r} exists")]
    for queue in context.queues:
        yield from _check_rabbitmq_queue(context, queue, bind=exists)


def _check_rabbitmq_queue(
    context: CheckContext, queue: Queue, *, bind: bool
) -> Iterator[Finding]:
    def declare_passively(channel: Any) -> None:
        queue(channel).queue_declare(passive=True)

    def declare(channel: Any) -> None:
        # Without the exchange: the binding of the monitor queue is left to the probe.
        alone = {"exchange": None, "bindings": None}
        channel.declare_task_queue(Queue(**queue.as_dict() | alone), strict=True)

    def bind_again(channel: Any) -> None:
        for each in bindings_of(queue):
            queue(channel).bind_to(each.exchange, each.routing_key, each.arguments)

    steps: list[Callable[[Any], None]] = [declare_passively, declare]
    detail = "exists as configured"
    if queue != context.monitor_queue and bind:
        steps.append(bind_again)
        detail += f", and is bound {_described_bindings(queue)}"
    check = f"queue {queue.name}"
    _, findings = _run_steps(context, check, "the queue", steps)
    yield from findings or [ok(check, detail)]


def _described_bindings(queue: Queue) -> str:
    """Return to which exchanges a queue is bound, by which keys."""
    exchanges: dict[str, list[str]] = {}
    for each in bindings_of(queue):
        exchanges.setdefault(each.routing_key, []).append(repr(each.exchange.name))
    return " and ".join(
        f"to {' and '.join(names)} by {key!r}" for key, names in exchanges.items()
    )


def _run_steps(
    context: CheckContext, check: str, what: str, steps: list[Callable[[Any], None]]
) -> tuple[bool, list[Finding]]:
    """Run steps until one fails; return whether the object exists, and the failure."""
    for step in steps:
        try:
            # A new channel for each: RabbitMQ closes one when it refuses a request.
            with context.open_channel() as channel:
                step(channel)
        except NotFound:
            return False, [failed(check, f"{what} does not exist", _DECLARE)]
        except AMQPError as error:
            detail = f"RabbitMQ refuses to declare or bind {what}: {error_text(error)}"
            advice = (
                "publishers use it as it is; if its arguments have to be those of this "
                "service, delete it when it is empty, or grant the permission"
            )
            return True, [failed(check, detail, advice)]
    return True, []


def _check_binding_table(context: CheckContext) -> Iterator[Finding]:
    channel: Channel = context.channel
    bound = {(key, queue) for key, _, queue in channel.get_table(EXCHANGE)}
    for queue in context.queues:
        key = "#" if queue == context.monitor_queue else queue.name
        detail = f"bound to {EXCHANGE!r} by {key!r}"
        if (key, queue.name) in bound:
            yield ok(f"queue {queue.name}", detail)
        else:
            yield failed(f"queue {queue.name}", f"not {detail}", _DECLARE)


def _check_sqs(context: CheckContext) -> Iterator[Finding]:
    from kombu.transport.SQS.exceptions import DoesNotExistQueueException

    for queue in context.queues:
        check = f"queue {queue.name}"
        name = context.channel.canonical_queue_name(queue.name)
        try:
            context.channel._resolve_queue_url(queue.name)
        except DoesNotExistQueueException:
            yield failed(check, f"{name!r} does not exist", _DECLARE)
        else:
            yield ok(check, f"{name!r} exists")
