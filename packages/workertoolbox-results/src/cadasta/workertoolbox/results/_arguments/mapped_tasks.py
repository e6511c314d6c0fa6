"""Names of the tasks that `map`, `starmap` and `chunks` call."""

from __future__ import annotations

from typing import Any

from cadasta.workertoolbox.results._arguments.masking import MAPPING_TASKS


def called_name(name: str, args: Any, kwargs: Any) -> str:
    """Return the name of the task that a task of Celery's calls for each item.

    Returns:
        The name of the inner task, or the given name for every other task.
    """
    if name not in MAPPING_TASKS:
        return name
    match (args, kwargs):
        case (_, {"task": {"task": str(called)}}) | ([{"task": str(called)}, *_], _):
            return called or name
    return name
