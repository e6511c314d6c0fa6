"""`/stats` and `/figures`: figures about tasks that ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, get_args

from cadasta.workertoolbox.results._store.figures.rollups import TaskFigures
from cadasta.workertoolbox.results._store.figures.stats import Grouping
from cadasta.workertoolbox.results._store.figures.stats_lines import (
    StatsLine,
    stats_lines,
)
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.api.endpoints import Endpoint
from cadasta.workertoolbox.results.web.api.parameters import (
    Choice,
    Duration,
    Flagged,
    Instant,
    Limit,
    Name,
)

#: The window without `since`.
WINDOW = timedelta(hours=1)


def stats(
    store: TaskStore,
    *,
    by: Annotated[Grouping, Choice(get_args(Grouping))] = "name",
    since: Instant = None,
    until: Instant = None,
    name: Name = None,
    queue: Name = None,
    status: Name = None,
    limit: Limit = 20,
    internal: Flagged = False,
) -> Sequence[StatsLine]:
    """Return statistics of ended tasks by name or queue, and of the window before.

    The window is extended to whole minutes, hours or days.

    Args:
        by: Whether an object is for a name or for a queue.
        since: The start of the window; by default, an hour ago.
        until: Its end; by default, the last minute whose tasks are all archived.
        name: Only tasks of this name.
        queue: Only tasks of this work queue.
        status: Only tasks that ended with this status.
        limit: Maximum number of names or queues, those with most tasks first. The
            others are added up.
        internal: Whether to include Celery's own tasks, `celery.*`.
    """
    table = store.stats(
        since=since or datetime.now(UTC) - WINDOW,
        until=until,
        by=by,
        name=name,
        queue=queue,
        status=status,
        limit=limit,
        internal=internal,
    )
    return [*stats_lines(table, by)]


def figures(
    store: TaskStore,
    *,
    since: Instant = None,
    until: Instant = None,
    step: Duration = None,
    name: Name = None,
    queue: Name = None,
    status: Name = None,
    error_group: Name = None,
) -> TaskFigures:
    """Return figures about the tasks that ended in a window, and in its steps.

    The window is extended to whole minutes, hours or days.

    Args:
        since: The start of the window; by default, an hour ago.
        until: Its end; by default, the present.
        step: Length of the parts for which `series` has figures: a whole number of
            minutes. Without it, `series` is empty.
        name: Only tasks of this name.
        queue: Only tasks of this work queue.
        status: Only tasks that ended with this status. With `RETRY`, only attempts that
            failed and were retried.
        error_group: Only failures of the group of errors with this key.
    """
    return store.figures(
        since=since or datetime.now(UTC) - WINDOW,
        until=until,
        step=step,
        name=name,
        queue=queue,
        status=status,
        error_group=error_group,
    )


ENDPOINTS = (Endpoint("/stats", stats), Endpoint("/figures", figures))
