"""Whether a monitor takes the copies, and how far behind it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._database import driver_reason, why_unreadable
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok, warning
from cadasta.workertoolbox.results import DatabaseUnavailable, TaskStore

#: Seconds in which a monitor takes a message out of a queue: twice its longest poll,
#: and for SQS the time until a count is right, most often.
_PATIENCE_S = 3.0

#: Seconds between two looks at the queue.
_INTERVAL_S = 0.2

#: A lag that is worth a look: see `docs/operations.md`.
_LAG = timedelta(seconds=60)

_START = "start one: `celery -A … tasks monitor`"


def monitor(context: CheckContext) -> Iterator[Finding]:
    """Look who consumes the monitor queue, or whether the probe leaves it."""
    name = context.monitor_queue.name
    if context.kind == "amqp":
        with context.opened() as channel:
            _, waiting, consumers = channel.queue_declare(name, passive=True)
        is_alive, who = consumers > 0, f"{consumers} consumers of {name!r}"
    else:
        waiting, is_alive = _watched(context)
        seen = "is taken from" if is_alive else "stays in"
        who = f"what is put into {name!r} {seen} it"
    lag, stored = _newest(context)
    detail = f"{who}, {waiting} waiting{stored}"
    if not is_alive:
        yield failed("monitor", f"none: {detail}", _START)
    elif lag is not None and lag > _LAG:
        yield warning("monitor", detail, "start another, or look at the database")
    else:
        yield ok("monitor", detail)


def _watched(context: CheckContext) -> tuple[int, bool]:
    """Return how many messages wait, the probe among them, and whether one leaves."""
    name = context.monitor_queue.name
    until = time.monotonic() + _PATIENCE_S
    before = size = context.channel._size(name)
    while 0 < size >= before and time.monotonic() < until:
        time.sleep(_INTERVAL_S)
        before, size = max(before, size), context.channel._size(name)
    return size, size == 0 or size < before


def _newest(context: CheckContext) -> tuple[timedelta | None, str]:
    """Return the lag of the newest task that is stored, and words for it."""
    if context.engine is None:
        return None, ""
    try:
        newest = TaskStore.from_engine(context.engine).newest_task()
    except DatabaseUnavailable as error:
        reason = why_unreadable(error) or driver_reason(error)
        return None, f"; the newest task cannot be read: {reason}"
    if newest is None:
        return None, "; no task is stored yet"
    age = datetime.now(UTC) - newest.scheduled_at
    return newest.lag, (
        f"; the newest task was published {age.total_seconds():.0f} s ago, and stored "
        f"{newest.lag.total_seconds():.1f} s later"
    )
