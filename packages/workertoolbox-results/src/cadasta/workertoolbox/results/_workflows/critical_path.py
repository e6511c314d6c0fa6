"""The critical path of a workflow: the tasks that decide when it ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import takewhile
from typing import NamedTuple

from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._workflows.holdups import activity_of
from cadasta.workertoolbox.results._workflows.links import Links
from cadasta.workertoolbox.results._workflows.order import in_topological_order
from cadasta.workertoolbox.results._workflows.workflow import Holdup, PathStep

#: In comparisons, the end of a task that has not ended.
NO_END = datetime.min.replace(tzinfo=UTC)


class _Header(NamedTuple):
    """The header of a chord: what its tasks lead to, and its body follows."""

    id: str


class _Chain(NamedTuple):
    """The longest chain of planned steps after a task, and where it goes."""

    length: int
    next: str | _Header | None


def find_critical_path(
    links: Links, holdups: Sequence[Holdup], now: datetime
) -> Sequence[PathStep]:
    """Return the critical path of a workflow.

    The path of a finished workflow ends with the task that ended last; steps that were
    not run are left out if there are others. The task before each is its parent: the
    one that has published it. In Celery, that is the step before it in a chain (a
    worker publishes the next step when its task has returned: `trace_task` in
    `celery/app/trace.py`), and for the body of a chord the task of the header that
    ended last, because its worker publishes the body (`_backend/chords.py`). Hence the
    workflow could not end earlier than this path. What a task waited for while it ran,
    for example with `get()`, is not known.

    The path of an unfinished workflow leads to the task of `holdups` with the longest
    chain of planned steps after it, the first of them, and goes on with these steps.
    """
    if not links.tasks:
        return ()
    if holdups:
        chains = _longest_chains(_planned_after(links))
        ids = (each.task.id for each in holdups)
        last = max(ids, key=lambda id: chains[id].length if id in chains else 0)
        after = _follow(chains, last)
    else:
        last, after = _last_ended(links), iter(())
    path = dict.fromkeys(_path_to(links, last))
    # Forged announcements can form a cycle, where a step is before and after a task.
    path |= dict.fromkeys(takewhile(lambda id: id not in path, after))
    return [*_with_times([links.tasks[id] for id in path], now)]


def _last_ended(links: Links) -> str:
    ended = [task for task in links.tasks.values() if task.finished_at is not None]
    ran = [task for task in ended if not task.not_run]
    return max(ran or ended or links.tasks.values(), key=_end).id


def _end(task: Task) -> datetime:
    return task.finished_at or NO_END


def _path_to(links: Links, id: str) -> Sequence[str]:
    """Return the tasks that lead to a task, which is the last one.

    A task that replaced itself with a workflow is there once: as its last step.
    """
    path: dict[str, None] = {}
    previous: str | None = id
    while previous is not None and previous not in path:
        path[previous] = None
        previous = _task_before(links, previous)
    return [*reversed(path)]


def _task_before(links: Links, id: str) -> str | None:
    if id in links.header_ids:
        members = links.members.get(links.header_ids[id], ())
        return max(members, key=lambda each: _end(links.tasks[each]), default=None)
    parent_id = links.tasks[id].parent_id
    return parent_id if parent_id in links.tasks else None


_Successors = Mapping[str | _Header, Sequence[str | _Header]]


def _planned_after(links: Links) -> _Successors:
    """Return the planned steps after each task, and after each header."""
    found: dict[str | _Header, list[str | _Header]] = defaultdict(list)
    for id, task in links.tasks.items():
        parent_id = links.parents[id]
        if id in links.header_ids:
            found[_Header(links.header_ids[id])].append(id)
        elif activity_of(task) == "planned" and parent_id is not None:
            found[parent_id].append(id)
    for header in [each for each in found if isinstance(each, _Header)]:
        for id in links.members.get(header.id, ()):
            found[id].append(header)
    return found


def _longest_chains(after: _Successors) -> Mapping[str | _Header, _Chain]:
    """Return the longest chain from each task and header that something follows.

    Forged announcements can form a cycle, which is cut at some place.
    """
    chains: dict[str | _Header, _Chain] = {}
    for node in in_topological_order(after, lambda each: after.get(each, ())):
        chains[node] = _longest(after.get(node, ()), chains)
    return chains


def _longest(
    following: Sequence[str | _Header], chains: Mapping[str | _Header, _Chain]
) -> _Chain:
    best = _Chain(0, None)
    for each in following:
        own = chains[each].length if each in chains else 0
        length = own + (not isinstance(each, _Header))
        if length > best.length:
            best = _Chain(length, each)
    return best


def _follow(chains: Mapping[str | _Header, _Chain], id: str) -> Iterator[str]:
    """Yield the planned steps of the longest chain after a task."""
    node: str | _Header | None = id
    while node is not None:
        node = chains[node].next if node in chains else None
        if isinstance(node, str):
            yield node


def _with_times(path: Sequence[Task], now: datetime) -> Iterator[PathStep]:
    """Yield the tasks of a path with the seconds that each of them took.

    Each begins when the one before it has published it. A task that replaced itself was
    first published before the path began, and begins when the one before it ended.
    """
    begin = path[0].scheduled_at
    for task in path:
        if begin is not None and task.scheduled_at is not None:
            begin = min(begin, task.scheduled_at)
    for task, following in zip(path, [*path[1:], None], strict=True):
        published_at = following.scheduled_at if following is not None else None
        if published_at is not None and begin is not None and published_at <= begin:
            published_at = None
        unfinished = activity_of(task)
        present = now if unfinished not in (None, "planned") else None
        ends = (published_at, task.finished_at, present)
        end = min((each for each in ends if each is not None), default=None)
        if begin is not None and end is not None:
            end = max(begin, end)
        yield PathStep(task, *_seconds(task, begin, end))
        begin = end


def _seconds(
    task: Task, begin: datetime | None, end: datetime | None
) -> tuple[float | None, float | None]:
    """Return for how long a task waited and ran between two instants."""
    if end is None:
        return None, None
    started = task.started_at
    if activity_of(task) in ("queued", "scheduled", "retrying"):
        started = None
    elif started is None and task.worker is not None:
        return None, None  # Its worker does not store starts.
    if started is None:
        return None if begin is None else (end - begin).total_seconds(), None
    started = min(started, end)
    if begin is None:
        return None, (end - started).total_seconds()
    started = max(begin, started)
    return (started - begin).total_seconds(), (end - started).total_seconds()
