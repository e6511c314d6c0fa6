"""Compare the clocks of the database and the broker with the clock of this host.

The toolbox compares times of different hosts, for example to compute a lag. Redis and
SQS report their time; RabbitMQ does not.
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

#: Seconds of difference at which waiting times and lags are visibly wrong.
_WARNING_S = 2.0

#: Seconds after which a task without a copy counts as untracked: see
#: `docs/how-to/operations.md`.
_FAILED_S = 60.0

_ADVICE = "synchronize the clocks of the hosts with NTP"


def database_clock(context: CheckContext) -> Iterator[Finding]:
    """Compare the clock of the database."""
    if context.database.dialect.name == "sqlite":
        yield ok("clock of the database", "SQLite uses the clock of this host")
        return
    with context.database.connect() as connection:
        # The first statement connects and begins, which must not be measured.
        connection.execute(text("SELECT 1"))

        def read_clock() -> float:
            instant: datetime = connection.execute(
                text("SELECT clock_timestamp()")
            ).scalar_one()
            return instant.timestamp()

        yield _compare("clock of the database", *_skew(read_clock))


def broker_clock(context: CheckContext) -> Iterator[Finding]:
    """Compare the clock of the broker."""
    match context.kind:
        case "redis":
            yield _compare("clock of the broker", *_skew(lambda: _redis_clock(context)))
        case "sqs":
            skew_s, uncertainty_s = _skew(lambda: _sqs_clock(context))
            # The header has whole seconds, rounded down.
            yield _compare("clock of the broker", skew_s + 0.5, uncertainty_s + 0.5)


def _skew(read_clock: Callable[[], float]) -> tuple[float, float]:
    """Return how many seconds a clock is ahead of ours, and the uncertainty."""
    before = time.time()
    theirs = read_clock()
    after = time.time()
    return theirs - (before + after) / 2, (after - before) / 2


def _redis_clock(context: CheckContext) -> float:
    client: Any = context.channel.client
    seconds, microseconds = client.time()
    return float(seconds) + float(microseconds) / 1e6


def _sqs_clock(context: CheckContext) -> float:
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


def _compare(check: str, skew_s: float, uncertainty_s: float) -> Finding:
    certain_s = abs(skew_s) - uncertainty_s
    side = "ahead of" if skew_s > 0 else "behind"
    detail = (
        f"{abs(skew_s):.1f} s {side} the clock of this host (± {uncertainty_s:.1f} s)"
    )
    if certain_s >= _FAILED_S:
        return failed(check, detail, _ADVICE)
    if certain_s >= _WARNING_S:
        return warning(check, detail, _ADVICE)
    return ok(check, detail)
