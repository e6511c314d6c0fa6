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
            if isinstance(group, Mapping):
                for task, options in group.items():
                    yield from _options(f"{setting}[{task!r}]", options)
    schedule = values.get("beat_schedule")
    if isinstance(schedule, Mapping):
        for name, entry in schedule.items():
            if isinstance(entry, Mapping):
                place = f"beat_schedule[{name!r}]['options']"
                yield from _options(place, entry.get("options"))


def _options(place: str, options: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(options, Mapping):
        yield place, options
