"""Drawing of a workflow as a tree."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celery.states import EXCEPTION_STATES
from rich.text import Text
from rich.tree import Tree

from cadasta.workertoolbox.results._store.task import Task

#: Maximum number of characters of a result or an error on one line.
WIDTH = 60

#: Styles of the statuses on a terminal; others are plain.
_STYLES = {
    "SUCCESS": "green",
    "FAILURE": "bold red",
    "REVOKED": "red",
    "RETRY": "yellow",
    "STARTED": "cyan",
    "PLANNED": "dim",
}


def in_order(
    tasks: Iterable[Task], *, requested_id: str | None = None
) -> Iterator[tuple[int, Task]]:
    """Yield the tasks of a workflow with their depth, parents before children.

    Celery's own tasks are left out; the tasks that they published are yielded as
    children of their parents.

    Args:
        requested_id: Id of a task that is yielded even if it is one of Celery's own.
    """
    known = {task.id: task for task in tasks}
    children: dict[str | None, list[Task]] = defaultdict(list)
    for task in known.values():
        if not task.internal or task.id == requested_id:
            children[_parent(task, known)].append(task)
    pending = [(0, task) for task in reversed(children[None])]
    while pending:
        depth, task = pending.pop()
        yield depth, task
        pending += [(depth + 1, child) for child in reversed(children[task.id])]


def workflow_tree(tasks: Iterable[Task], *, requested_id: str | None = None) -> Tree:
    """Draw a workflow: the name, status, wait, run time and outcome of each task.

    Args:
        requested_id: Id of the requested task, which is marked unless it is the root.
    """
    tree = Tree("", hide_root=True)
    branches = [tree]
    for depth, task in in_order(tasks, requested_id=requested_id):
        del branches[depth + 1 :]
        marked = task.id == requested_id and task.id != task.root_id
        branches.append(branches[depth].add(_label(task, marked=marked)))
    return tree


def _parent(task: Task, known: Mapping[str, Task]) -> str | None:
    """Return the id of the nearest ancestor that is shown, or None.

    It is also None if the ancestors form a cycle.
    """
    seen = {task.id}
    nearest = None
    ancestor = known.get(task.parent_id or "")
    while ancestor is not None:
        if ancestor.id in seen:
            return None
        seen.add(ancestor.id)
        if nearest is None and not ancestor.internal:
            nearest = ancestor.id
        ancestor = known.get(ancestor.parent_id or "")
    return nearest


def _label(task: Task, *, marked: bool) -> Text:
    label = Text()
    label.append("▶ " if marked else "")
    label.append(task.name or "?", style="bold")
    label.append(f"  {task.status}", style=_STYLES.get(task.status, ""))
    for phase, seconds in (("wait", task.wait_s), ("run", task.run_s)):
        if seconds is not None:
            label.append(f"  {phase} {format_duration(seconds)}", style="dim")
    if task.retries:
        label.append(f"  retries {task.retries}", style="yellow")
    if not task.tracked:
        label.append("  untracked", style="magenta")
    label.append(f"  {task.id}", style="dim")
    label.append(_outcome(task))
    return label


def _outcome(task: Task) -> str:
    if task.result is None:
        return ""
    if task.status in EXCEPTION_STATES:
        return f"\n  {error_text(task.result)}"
    return f"\n  → {shorten(task.result)}"


def error_text(result: Any) -> str:
    """Return a failure that Celery stored as `Type: message`."""
    match result:
        case {"exc_type": kind, "exc_message": [*parts]}:
            return f"{kind}: {', '.join(str(part) for part in parts)}"
        case {"exc_type": kind, "exc_message": message}:
            return f"{kind}: {message}"
    return shorten(result)


def shorten(value: Any) -> str:
    """Return a value as JSON on one line of at most `WIDTH` characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def format_duration(seconds: float) -> str:
    """Return a duration as readable text: `12 ms`, `3.4 s`, `2 min 5 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
