"""Lines about a workflow: its status, its critical path, and what holds it up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cadasta.workertoolbox.results._commands.output import format_instant
from cadasta.workertoolbox.results._commands.tree import ON_PATH, counts_text
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._number_text import counted
from cadasta.workertoolbox.results._safe_text import terminal_text
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results._workflows.workflow import (
    Holdup,
    PathStep,
    Workflow,
    WorkflowStatus,
)

#: Styles of the statuses on a terminal.
STYLES: dict[WorkflowStatus | None, str] = {
    "running": "cyan",
    "waiting": "yellow",
    "done": "green",
    "failed": "bold red",
    "partly failed": "red",
    None: "",
}


def workflow_lines(workflow: Workflow) -> Iterator[str]:
    """Yield the lines about a workflow; nothing if it has no tasks."""
    if workflow.status is None:
        return
    yield f"{workflow.status}{_time(workflow)}: {counts_text(workflow.counts)}"
    yield from _path_line(workflow)
    yield from _holdup_line(workflow)


def _time(workflow: Workflow) -> str:
    """Return how long the workflow took, or has taken so far."""
    end = workflow.finished_at or workflow.read_at
    if workflow.scheduled_at is None or end is None:
        return ""
    seconds = max(0.0, (end - workflow.scheduled_at).total_seconds())
    word = "for" if workflow.finished_at is None else "after"
    return f" {word} {duration_text(seconds)}"


def _path_line(workflow: Workflow) -> Iterator[str]:
    """Yield where the time of the critical path went."""
    path = workflow.critical_path
    if len(path) < 2:
        return
    total = sum((step.wait_s or 0) + (step.run_s or 0) for step in path)
    text = f"critical path {ON_PATH} of {len(path):,} tasks, {duration_text(total)}"
    waited = max(path, key=lambda step: step.wait_s or 0)
    ran = max(path, key=lambda step: step.run_s or 0)
    parts = [
        f"longest {word} {duration_text(seconds)} of {_named(step)}"
        for word, step, seconds in (
            ("wait", waited, waited.wait_s),
            ("run", ran, ran.run_s),
        )
        if seconds
    ]
    yield ", ".join([text, *parts])


def _named(step: PathStep) -> str:
    return terminal_text(step.task.name or step.task.id)


def _holdup_line(workflow: Workflow) -> Iterator[str]:
    """Yield what holds the workflow up, in one sentence."""
    if not workflow.held_up_by:
        return
    first, *others = workflow.held_up_by
    task = first.task
    name = terminal_text(f"{task.name or 'task'} {task.id}")
    text = f"waits for {name}, {terminal_text(_activity(first, workflow.read_at))}"
    if others:
        text += f", and for {counted(len(others), 'other task')}"
    yield text


def _activity(holdup: Holdup, now: datetime | None) -> str:
    task = holdup.task
    for_text = "" if holdup.for_s is None else f" for {duration_text(holdup.for_s)}"
    match holdup.activity:
        case "running":
            place = f" on {task.worker}" if task.worker else ""
            return f"running{place}{for_text}"
        case "queued":
            place = f" in {task.queue}" if task.queue else ""
            return f"queued{place}{for_text}"
        case "scheduled":
            return f"scheduled for {format_instant(task.eta)}"
        case "retrying":
            return f"waiting for its retry {task.retries or ''}{_due(task, now)}"
        case "planned":
            return "planned: no monitor has seen its message"


def _due(task: Task, now: datetime | None) -> str:
    if task.eta is not None and now is not None and task.eta > now:
        return f" until {format_instant(task.eta)}"
    return f" in {task.queue}" if task.queue else ""
