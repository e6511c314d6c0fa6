"""The tree, the status and the critical path of the tasks of a workflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime

from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._workflows.critical_path import find_critical_path
from cadasta.workertoolbox.results._workflows.holdups import (
    activity_of,
    find_holdups,
    has_failed,
)
from cadasta.workertoolbox.results._workflows.links import Links
from cadasta.workertoolbox.results._workflows.newest_reruns import find_newest_reruns
from cadasta.workertoolbox.results._workflows.workflow import (
    Workflow,
    WorkflowNode,
    WorkflowStatus,
    make_node,
)


def make_workflow(
    tasks: Iterable[Task],
    *,
    now: datetime,
    header_ids: Mapping[str, str] | None = None,
    internal: bool = False,
) -> Workflow:
    """Return a workflow with its tree, its status and its critical path.

    The time that this takes is proportional to the number of tasks.

    Args:
        tasks: All tasks of the workflow, oldest first, Celery's own ones too.
        now: The time at which they were read.
        header_ids: For each announced body of a chord, the group that it follows.
        internal: Whether to return Celery's own tasks too.
    """
    links = Links.of(tasks, header_ids or {})
    holdups = find_holdups(links, now)
    path = find_critical_path(links, holdups, now)
    shown = {id for id, task in links.tasks.items() if internal or not task.internal}
    own = [links.tasks[id] for id in links.tasks if id in shown]
    reruns = find_newest_reruns(links.tasks)
    relevant = {each.task.id for each in holdups} | {each.task.id for each in path}
    every = links.tasks.values()
    return Workflow(
        tasks=own,
        roots=_make_tree(links, shown | relevant),
        status=_status(links, reruns),
        reruns=reruns,
        counts=Counter(task.status for task in own),
        scheduled_at=_first(task.scheduled_at for task in every),
        started_at=_first(task.started_at for task in every),
        finished_at=None if holdups else _last(task.finished_at for task in every),
        read_at=now,
        critical_path=path,
        held_up_by=holdups,
    )


def _make_tree(links: Links, shown: Container[str]) -> Sequence[WorkflowNode]:
    """Return the nodes at the top; children of hidden tasks move up to the next one."""
    children = links.children
    made: dict[str | None, Sequence[WorkflowNode]] = {}
    for id in reversed([None, *links.in_order()]):
        below: Sequence[WorkflowNode] = ()
        if id in children:  # Most have none.
            below = [node for child in children[id] for node in made.pop(child)]
        if id is not None and id in shown:
            header_id = links.header_ids.get(id)
            made[id] = (make_node(links.tasks[id], below, header_id),)
        else:
            made[id] = below
    return [*made[None]]


def _status(links: Links, reruns: Mapping[str, str]) -> WorkflowStatus | None:
    activities = {activity_of(task) for task in links.tasks.values()}
    if not activities:
        return None
    if "running" in activities:
        return "running"
    if activities != {None}:
        return "waiting"
    # Of a task that was run again, only the newest run counts.
    current = (task for id, task in links.tasks.items() if id not in reruns)
    if not any(map(has_failed, current)):
        return "done"
    last = (task for task in _last_tasks(links) if task.id not in reruns)
    return "failed" if all(map(has_failed, last)) else "partly failed"


def _last_tasks(links: Links) -> Iterable[Task]:
    """Yield the tasks that nothing follows.

    The body of a chord follows all tasks of its header, but has only one of them as its
    parent, and nothing says so any more when it has ended. So, if something follows a
    task of a group, it is taken to follow the whole group.
    """
    children = links.children
    followed = {id for id in links.tasks if children.get(id)}
    for members in links.members.values():
        if not followed.isdisjoint(members):
            followed.update(members)
    return (task for id, task in links.tasks.items() if id not in followed)


def _first(instants: Iterable[datetime | None]) -> datetime | None:
    return min((each for each in instants if each is not None), default=None)


def _last(instants: Iterable[datetime | None]) -> datetime | None:
    return max((each for each in instants if each is not None), default=None)
