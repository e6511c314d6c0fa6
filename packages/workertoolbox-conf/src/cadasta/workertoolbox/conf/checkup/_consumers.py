"""Find queues that hold messages which nothing consumes.

RabbitMQ counts the consumers of a queue. On Redis and in a folder the workers are asked
by remote control, so a worker that does not answer in time is not counted. SQS and SQL
databases report neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from amqp.exceptions import NotFound

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, ok, warning

#: Seconds to wait for the answers of workers.
_ANSWER_TIMEOUT_S = 1.0


def consumers(context: CheckContext) -> Iterator[Finding]:
    """Count the messages in work queues that no worker consumes."""
    match context.kind:
        case "amqp":
            waiting = _count_on_rabbitmq(context)
        case "redis" | "filesystem" if context.app.conf.worker_enable_remote_control:
            waiting = _count_without_answer(context)
        case _:
            return
    if not waiting:
        yield ok("consumers", "every work queue that holds messages has a consumer")
        return
    shown = ", ".join(f"{name!r}: {count}" for name, count in waiting.items())
    yield warning(
        "consumers",
        f"messages wait in queues that no worker consumes: {shown}",
        f"start a worker with `-Q {','.join(waiting)}`, or send the tasks to a queue "
        "that workers consume",
    )


def _count_on_rabbitmq(context: CheckContext) -> dict[str, int]:
    waiting = {}
    # If nothing is declared yet, nothing waits.
    with suppress(NotFound), context.open_channel() as channel:
        for name in _work_queues(context):
            queue = channel.queue_declare(name, passive=True)
            if queue.message_count and not queue.consumer_count:
                waiting[name] = queue.message_count
    return waiting


def _count_without_answer(context: CheckContext) -> dict[str, int]:
    with context.open_channel() as channel:
        counts = {name: channel._size(name) for name in _work_queues(context)}
    waiting = {name: count for name, count in counts.items() if count}
    if waiting:
        inspect = context.app.control.inspect(timeout=_ANSWER_TIMEOUT_S)
        for queues in (inspect.active_queues() or {}).values():
            for queue in queues:
                waiting.pop(queue["name"], None)
    return waiting


def _work_queues(context: CheckContext) -> Iterator[str]:
    for queue in context.queues:
        if queue != context.monitor_queue:
            yield queue.name
