"""The routes of `task_routes` that name a queue before any task is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from celery.utils.functional import maybe_list
from kombu import Queue


class StaticRoute(NamedTuple):
    """A route that is written in the settings.

    Attributes:
        pattern: The task that it is for: a name, a glob or a regular expression.
        queue: The queue that it names.
    """

    pattern: str
    queue: str | Queue


def static_routes(routes: Any) -> Iterator[StaticRoute]:
    """Yield the routes that name a queue. What a function returns is not known.

    Args:
        routes: As in Celery's setting `task_routes`: a dictionary or pairs of patterns
            and targets, or a list of these and of functions.
    """
    for route in maybe_list(routes) or ():
        pairs = route.items() if isinstance(route, Mapping) else route
        if callable(pairs) or isinstance(pairs, str):
            continue
        for pattern, *_, target in pairs:
            if queue := queue_of(target):
                yield StaticRoute(getattr(pattern, "pattern", str(pattern)), queue)


def queue_of(target: Any) -> str | Queue | None:
    """Return the queue that a route or the options of a task name."""
    queue = target.get("queue") if isinstance(target, Mapping) else target
    return queue if isinstance(queue, str | Queue) else None
