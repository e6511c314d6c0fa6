"""Find the options of tasks in annotations, routes and beat's schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celery.utils.functional import maybe_list


def task_options(values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the options of each task, after the place where they are set.

    Annotations and routes that are objects or functions are left out.

    Args:
        values: Settings, with the routes as the user wrote them.
    """
    for setting in ("task_annotations", "task_routes"):
        for group in maybe_list(values.get(setting)) or ():
            for task, options in _pairs(group):
                if isinstance(options, Mapping):
                    yield f"{setting}[{task!r}]", options
    schedule = values.get("beat_schedule")
    if isinstance(schedule, Mapping):
        for name, entry in schedule.items():
            options = entry.get("options") if isinstance(entry, Mapping) else None
            if isinstance(options, Mapping):
                yield f"beat_schedule[{name!r}]['options']", options


def _pairs(group: object) -> Iterator[tuple[object, object]]:
    """Yield tasks and their options from a mapping, or from a list of pairs.

    Celery accepts lists of pairs for routes.
    """
    if isinstance(group, Mapping):
        yield from group.items()
    elif isinstance(group, list | tuple):
        for pair in group:
            if isinstance(pair, list | tuple) and len(pair) == 2:
                yield pair[0], pair[1]
