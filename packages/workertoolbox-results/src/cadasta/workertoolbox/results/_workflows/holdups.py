"""What an unfinished workflow waits for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    found = [_holdup(task, now) for task in _last_unfinished(links)]
    found.sort(key=lambda each: each.since or NEVER)
    own = [each for each in found if not each.task.internal]
    return own or found


def _last_unfinished(links: Links) -> Iterator[Task]:
    activities = {
        id: activity_of(task)
        for id, task in links.tasks.items()
        if task.status not in ENDED
    }
    active = (id for id, activity in activities.items() if activity != "planned")
    above_active = _tasks_above(links, active)
    waiting_headers = {
        header_id
        for header_id, members in links.members.items()
        if not activities.keys().isdisjoint(members)
    }
    for id, activity in activities.items():
        if activity == "running":
            is_last = id not in above_active
        elif activity != "planned":
            is_last = True
        elif id in links.header_ids:
            is_last = links.header_ids[id] not in waiting_headers
        else:
            is_last = links.parents[id] not in activities
        if is_last:
            yield links.tasks[id]


def _tasks_above(links: Links, ids: Iterable[str]) -> set[str]:
    """Return the tasks that have one of some tasks beneath them in the tree."""
    found: set[str] = set()
    for id in ids:
        above = links.parents[id]
        while above is not None and above not in found:
            found.add(above)
            above = links.parents[above]
    return found


def _holdup(task: Task, now: datetime) -> Holdup:
    activity = activity_of(task) or "running"
    since = _since(task, activity)
    for_s = None if since is None else max(0.0, (now - since).total_seconds())
    return Holdup(task, activity, since, for_s)


def _since(task: Task, activity: Activity) -> datetime | None:
    if activity == "planned":
        return None
    if activity in ("running", "retrying"):
        return task.started_at
    if activity == "scheduled":
        return task.scheduled_at
    return max(filter(None, (task.scheduled_at, task.eta)), default=None)
