"""The newest run of each task of a workflow that was run again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from cadasta.workertoolbox.results._database.types import NEVER
from cadasta.workertoolbox.results._task import Task


def find_newest_reruns(tasks: Mapping[str, Task]) -> Mapping[str, str]:
    """Return the id of the newest run for each earlier run of the same task.

    Args:
        tasks: The tasks of a workflow by their ids. A rerun that belongs to another
            workflow, as after `tasks rerun ID`, is not among them.
    """
    if not any(task.rerun_of for task in tasks.values()):
        return {}
    runs: defaultdict[str, list[Task]] = defaultdict(list)
    for id, first_id in _first_runs(tasks).items():
        runs[first_id].append(tasks[id])
    newest: dict[str, str] = {}
    for first_id, some in runs.items():
        last = max(some, key=lambda task: (task.scheduled_at or NEVER, task.id))
        for id in (first_id, *(task.id for task in some)):
            if id != last.id:
                newest[id] = last.id
    return newest


def _first_runs(tasks: Mapping[str, Task]) -> Mapping[str, str]:
    """Return the id of the first run for each rerun."""
    found: dict[str, str | None] = {}
    for start in tasks:
        path: dict[str, None] = {}
        id = start
        while id not in found and id not in path:
            path[id] = None
            of = tasks[id].rerun_of
            if of is None or of not in tasks:
                found[id] = id
            else:
                id = of
        # Forged messages can have cycles, which have no first run.
        found |= dict.fromkeys(path, found.get(id))
    return {id: first for id, first in found.items() if first not in (None, id)}
