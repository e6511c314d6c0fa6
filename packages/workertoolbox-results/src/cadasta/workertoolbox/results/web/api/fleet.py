"""`/services`, `/workers`, `/schedules`, `/health` and so on: the fleet."""

from __future__ import annotations

from collections.abc import Sequence

from cadasta.workertoolbox.results._store.figures.releases import Release
from cadasta.workertoolbox.results._store.fleet.routes import Route
from cadasta.workertoolbox.results._store.fleet.workers import Worker
from cadasta.workertoolbox.results._store.schedules.entries import Schedule
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.upkeep.health import Health
from cadasta.workertoolbox.results.web.api.endpoints import Endpoint
from cadasta.workertoolbox.results.web.api.parameters import (
    Flagged,
    Instant,
    Limit,
)


def services(
    store: TaskStore, *, since: Instant = None, internal: Flagged = False
) -> Sequence[Route]:
    """Return which services send each task, and which workers run it.

    Only the latest tasks of each name are read.

    Args:
        since: Only tasks that were published since then, or are live; by default, those
            of the last day.
        internal: Whether to include Celery's own tasks, `celery.*`.
    """
    return store.services(since=since, internal=internal)


def workers(store: TaskStore, *, since: Instant = None) -> Sequence[Worker]:
    """Return the workers that have started or ended tasks lately, by name.

    Args:
        since: Only workers that were seen since then, or run a task; by default, those
            of the last hour.
    """
    return store.workers(since=since)


def schedules(store: TaskStore, *, removed: Flagged = False) -> Sequence[Schedule]:
    """Return the entries of beat's schedule, by service and name.

    Args:
        removed: Whether to include entries that beat does not list any more.
    """
    return store.schedules(removed=removed)


def releases(
    store: TaskStore, *, since: Instant = None, until: Instant = None, limit: Limit = 50
) -> Sequence[Release]:
    """Return the versions of services that appeared in a window, newest first.

    Args:
        since: The start of the window; by default, 30 days ago.
        until: Its end; by default, the present.
        limit: Maximum number of versions, the newest ones.
    """
    return store.releases(since=since, until=until, limit=limit)


def names(store: TaskStore) -> Sequence[str]:
    """Return the names of the live tasks and of those of the last 30 days, sorted."""
    return store.names()


def health(store: TaskStore) -> Health:
    """Return the state of the database, and of what writes to it.

    It has the monitors, how far they and the archiver are, the sizes of tables and
    days, and how long the history keeps tasks.
    """
    return store.health()


ENDPOINTS = (
    Endpoint("/services", services),
    Endpoint("/workers", workers),
    Endpoint("/schedules", schedules),
    Endpoint("/releases", releases),
    Endpoint("/names", names),
    Endpoint("/health", health),
)
