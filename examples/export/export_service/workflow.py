"""The tasks of an export, and the statuses that they must reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from celery.states import EXCEPTION_STATES, READY_STATES

from cadasta.workertoolbox.results import Task

#: Tasks that fail on purpose.
FAILING = {"msg.webhook"}

#: Retries of the tasks that are retried on purpose.
RETRIES = {"msg.announce": 1}


def planned(started: Mapping[str, Any]) -> Counter[str]:
    """Return the number of tasks of each name in an export.

    Args:
        started: The result of `export.project`.
    """
    names = ["export.project", "msg.announce", "export.bundle", "msg.notify"]
    names += ["msg.remind"]
    if "webhook" in started:
        names.append("msg.webhook")
    chunks = started["chunks"]
    return Counter({"export.describe": chunks, "export.pack": chunks}) + Counter(names)


def find_problems(tasks: Iterable[Task], plan: Counter[str]) -> list[str]:
    """Return what is wrong with the tasks of a finished export."""
    tasks = list(tasks)
    found = Counter(task.name or "" for task in tasks)
    problems = [
        f"{name}: {found[name]} of {plan[name]} tasks in the database"
        for name in sorted(plan | found)
        if found[name] != plan[name]
    ]
    return problems + [problem for task in tasks if (problem := _problem(task))]


def find_failures(tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks that failed and should not have failed."""
    return [
        task
        for task in tasks
        if task.status in READY_STATES & EXCEPTION_STATES and task.name not in FAILING
    ]


def _problem(task: Task) -> str | None:
    name = task.name or ""
    status = "FAILURE" if name in FAILING else "SUCCESS"
    if not task.tracked:
        return f"{name} {task.id}: the monitor has not seen its message"
    if task.status != status:
        return f"{name} {task.id}: {task.status} instead of {status}"
    if task.retries != RETRIES.get(name, 0):
        return f"{name} {task.id}: retried {task.retries} times"
    return None
