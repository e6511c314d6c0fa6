"""What an unfinished workflow waits for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from celery import states

from cadasta.workertoolbox.results._database.statuses import (
    ENDED,
    PLANNED,
    QUEUED,
    SCHEDULED,
)
from cadasta.workertoolbox.results._database.types import NEVER
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._workflows.links import Links
from cadasta.workertoolbox.results._workflows.workflow import Activity, Holdup

#: Ends that are not failures.
_GOOD_ENDS = (states.SUCCESS, states.IGNORED)

_ACTIVITIES: Mapping[str, Activity] = {
    PLANNED: "planned",
    SCHEDULED: "scheduled",
    QUEUED: "queued",
    # A worker holds it, but has not started it.
    states.RECEIVED: "queued",
    states.PENDING: "queued",
    states.RETRY: "retrying",
}


def activity_of(task: Task) -> Activity | None:
    """Return what an unfinished task does, or None if the task has ended.

    Custom states are those of running tasks.
    """
    return None if task.status in ENDED else _ACTIVITIES.get(task.status, "running")


def has_failed(task: Task) -> bool:
    """Return whether a task has ended and did not succeed, also if it was not run."""
    return task.status in ENDED and task.status not in _GOOD_ENDS


def find_holdups(links: Links, now: datetime) -> Sequence[Holdup]:
    """Return the unfinished tasks that wait for no other task of the workflow.

    A planned step waits for the task or the header that it follows. A running task with
    unfinished tasks beneath it probably waits for them. Celery's own tasks, such as
    `celery.chord_unlock`, are left out if there are others.

    Returns:
        Those that have lasted longest first; those without a known time are last.
    """
    if all(task.status in ENDED for task in links.tasks.values()):
        return []
    found = [_holdup(task, now) for task in _last_unfinished(links)]
    found.sort(key=lambda each: each.since or NEVER)
    own = [each for each in found if not each.task.internal]
    return own or found


def _last_unfinished(links: Links) -> Iterator[Task]:
    active_below: dict[str | None, int] = defaultdict(int)
    for id in reversed([*links.in_order()]):
        is_active = activity_of(links.tasks[id]) not in (None, "planned")
        active_below[links.parents[id]] += active_below[id] + is_active
    waiting_headers = {
        header_id
        for header_id, members in links.members.items()
        if any(activity_of(links.tasks[id]) for id in members)
    }
    for id, task in links.tasks.items():
        activity = activity_of(task)
        if activity == "planned":
            header_id, parent_id = links.header_ids.get(id), links.parents[id]
            parent = links.tasks.get(parent_id or "")
            if header_id is not None:
                is_last = header_id not in waiting_headers
            else:
                is_last = parent is None or activity_of(parent) is None
        else:
            is_last = activity == "running" and not active_below[id]
            is_last = is_last or activity in ("queued", "scheduled", "retrying")
        if is_last:
            yield task


def _holdup(task: Task, now: datetime) -> Holdup:
    activity = activity_of(task) or "running"
    since = {
        "running": task.started_at,
        "retrying": task.started_at,
        "planned": None,
    }.get(activity, max(filter(None, (task.scheduled_at, task.eta)), default=None))
    if activity == "scheduled":
        since = task.scheduled_at
    for_s = None if since is None else max(0.0, (now - since).total_seconds())
    return Holdup(task, activity, since, for_s)
