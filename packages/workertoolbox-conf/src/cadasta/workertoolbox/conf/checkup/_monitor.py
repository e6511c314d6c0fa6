"""Check that a monitor consumes the copies, and how far behind it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._database import driver_reason, why_unreadable
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok, warning
from cadasta.workertoolbox.results import DatabaseUnavailable, TaskStore

#: Seconds to wait until a monitor takes a message out of the queue: twice the longest
#: poll of a monitor. On SQS, the count of messages is usually right after that time.
_WAIT_S = 3.0

#: Seconds between two counts of the messages.
_INTERVAL_S = 0.2

#: The lag above which a monitor is too slow: see `docs/how-to/operations.md`.
_MAX_LAG = timedelta(seconds=60)

_START = "start one with `celery -A … tasks monitor`"


def monitor(context: CheckContext) -> Iterator[Finding]:
    """Check that the monitor queue has a consumer, or that the probe leaves it."""
    name = context.monitor_queue.name
    if context.kind == "amqp":
        with context.open_channel() as channel:
            _, waiting, consumers = channel.queue_declare(name, passive=True)
        is_consumed = consumers > 0
        detail = f"{name!r} has {consumers} consumer{'' if consumers == 1 else 's'}"
    else:
        waiting, is_consumed = _watch_queue(context)
        seen = "leave" if is_consumed else "stay in"
        detail = f"messages {seen} {name!r}"
    lag, newest = _newest_task(context)
    detail += f", {waiting} waiting; {newest}" if newest else f", {waiting} waiting"
    if not is_consumed:
        yield failed("monitor", f"no monitor is running: {detail}", _START)
    elif lag is not None and lag > _MAX_LAG:
        advice = "start another monitor, or find out why the database is slow"
        yield warning("monitor", detail, advice)
    else:
        yield ok("monitor", detail)


def _watch_queue(context: CheckContext) -> tuple[int, bool]:
    """Return the number of messages, with the probe, and whether one has left."""
    name = context.monitor_queue.name
    deadline = time.monotonic() + _WAIT_S
    highest = size = context.channel._size(name)
    while 0 < size >= highest and time.monotonic() < deadline:
        time.sleep(_INTERVAL_S)
        highest, size = max(highest, size), context.channel._size(name)
    return size, size == 0 or size < highest


def _newest_task(context: CheckContext) -> tuple[timedelta | None, str]:
    """Return the lag of the newest stored task and a sentence about it, if known."""
    if context.engine is None:
        return None, ""
    try:
        newest = TaskStore.from_engine(context.engine).newest_task()
    except DatabaseUnavailable as error:
        reason = why_unreadable(error) or driver_reason(error)
        return None, f"the newest task cannot be read: {reason}"
    if newest is None:
        return None, "no task is stored yet"
    age = datetime.now(UTC) - newest.scheduled_at
    return newest.lag, (
        f"the newest task was published {age.total_seconds():.0f} s ago and stored "
        f"{newest.lag.total_seconds():.1f} s later"
    )
