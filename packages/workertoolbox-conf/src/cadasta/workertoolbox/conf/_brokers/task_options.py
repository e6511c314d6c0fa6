"""Options of tasks that a configuration knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celery.utils.functional import maybe_list


def task_options(values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the options that annotations, routes and beat's schedule have, by place.

    What is given as an object or a function is passed over.

    Args:
        values: Settings, with the routes as the user wrote them.
    """
    for setting in ("task_annotations", "task_routes"):
        for group in maybe_list(values.get(setting)) or ():
            for task, options in _pairs(group):
                yield from _options(f"{setting}[{task!r}]", options)
    schedule = values.get("beat_schedule")
    if isinstance(schedule, Mapping):
        for name, entry in schedule.items():
            if isinstance(entry, Mapping):
                place = f"beat_schedule[{name!r}]['options']"
                yield from _options(place, entry.get("options"))


def _pairs(group: object) -> Iterator[tuple[object, object]]:
    """Yield tasks with what is said of them; Celery takes lists of pairs for routes."""
    if isinstance(group, Mapping):
        yield from group.items()
    elif isinstance(group, list | tuple):
        for pair in group:
            if isinstance(pair, list | tuple) and len(pair) == 2:
                yield pair[0], pair[1]


def _options(place: str, options: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(options, Mapping):
        yield place, options
