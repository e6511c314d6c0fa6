"""`/queues` and `/backlog`: queues, and what waits in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cadasta.workertoolbox.results._store.figures.queues import QueueBacklog
from cadasta.workertoolbox.results._store.figures.rollups import BacklogSample
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.api.endpoints import Endpoint
from cadasta.workertoolbox.results.web.api.figures import WINDOW
from cadasta.workertoolbox.results.web.api.parameters import (
    Duration,
    Instant,
    Name,
)

#: The step without `step`.
_STEP = timedelta(minutes=1)


def queues(store: TaskStore) -> Sequence[str]:
    """Return the queues of the live tasks and of those of the last 30 days, sorted."""
    return store.queues()


def backlog(store: TaskStore, *, queue: Name = None) -> Sequence[QueueBacklog]:
    """Return what waits and runs in each queue, most tasks first.

    Queues that had tasks within the last hour are included.

    Args:
        queue: Only this work queue.
    """
    return [each for each in store.backlog() if queue in (None, each.queue)]


def samples(
    store: TaskStore,
    *,
    since: Instant = None,
    until: Instant = None,
    step: Duration = None,
    queue: Name = None,
) -> Sequence[BacklogSample]:
    """Return how many tasks were queued in the steps of a window, oldest first.

    A step without samples is left out: no archiver was running.

    Args:
        since: The start of the window; by default, an hour ago.
        until: Its end; by default, the present.
        step: Length of a step: a whole number of minutes; by default, one.
        queue: Only this work queue.
    """
    return store.backlog_samples(
        since=since or datetime.now(UTC) - WINDOW,
        until=until,
        step=step or _STEP,
        queue=queue,
    )


ENDPOINTS = (
    Endpoint("/queues", queues),
    Endpoint("/backlog", backlog),
    Endpoint("/backlog/samples", samples),
)
