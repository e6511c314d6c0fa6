"""Whether clocks agree: instants of different hosts are compared.

The database's is asked, and those of Redis and SQS; RabbitMQ does not tell the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sqlalchemy import text

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._finding import Finding, failed, ok, warning

#: Seconds from which on waits and lags are plainly wrong.
_WARNING_S = 2.0

#: Seconds from which on a task whose copy is late counts as untracked: see
#: `docs/operations.md`.
_FAILED_S = 60.0

_ADVICE = "synchronise the clocks, by NTP"


def database_clock(context: CheckContext) -> Iterator[Finding]:
    """Compare the database's clock with the one of this host."""
    if context.database.dialect.name == "sqlite":
        yield ok("clock of the database", "it is the one of this host")
        return
    with context.database.connect() as connection:
        connection.execute(text("SELECT 1"))  # to have begun

        def ask() -> float:
            instant: datetime = connection.execute(
                text("SELECT clock_timestamp()")
            ).scalar_one()
            return instant.timestamp()

        yield _compared("clock of the database", *_skew(ask))


def broker_clock(context: CheckContext) -> Iterator[Finding]:
    """Compare the broker's clock with the one of this host."""
    match context.kind:
        case "redis":
            yield _compared("clock of the broker", *_skew(lambda: _of_redis(context)))
        case "sqs":
            skew_s, doubt_s = _skew(lambda: _of_sqs(context))
            # The header has whole seconds, cut off.
            yield _compared("clock of the broker", skew_s + 0.5, doubt_s + 0.5)


def _skew(ask: Callable[[], float]) -> tuple[float, float]:
    """Return seconds that a clock is ahead of ours, and how wrong that may be."""
    before = time.time()
    theirs = ask()
    after = time.time()
    return theirs - (before + after) / 2, (after - before) / 2


def _of_redis(context: CheckContext) -> float:
    client: Any = context.channel.client
    seconds, microseconds = client.time()
    return float(seconds) + float(microseconds) / 1e6


def _of_sqs(context: CheckContext) -> float:
    channel = context.channel
    if channel.predefined_queues:
        name, url = next(iter(channel._queue_cache.items()))
        answer = channel.sqs(name).get_queue_attributes(
            QueueUrl=url, AttributeNames=["QueueArn"]
        )
    else:
        answer = channel.sqs().list_queues(QueueNamePrefix=channel.queue_name_prefix)
    date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    return parsedate_to_datetime(date).timestamp()


def _compared(check: str, skew_s: float, doubt_s: float) -> Finding:
    certain_s = abs(skew_s) - doubt_s
    side = "ahead of" if skew_s > 0 else "behind"
    detail = f"{abs(skew_s):.1f} s {side} this host's, give or take {doubt_s:.1f} s"
    if certain_s >= _FAILED_S:
        return failed(check, detail, _ADVICE)
    if certain_s >= _WARNING_S:
        return warning(check, detail, _ADVICE)
    return ok(check, detail)
