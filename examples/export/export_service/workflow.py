"""Which tasks an export consists of, and what has to become of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from cadasta.workertoolbox.results import Task

#: Statuses that no task leaves.
FINAL = {"SUCCESS", "FAILURE", "REVOKED"}

#: Tasks that are meant to fail.
FAILING = {"msg.webhook"}

#: How often a task is meant to be retried; any other is not.
RETRIES = {"msg.announce": 1}


def planned(started: Mapping[str, Any]) -> Counter[str]:
    """Return how many tasks of each name an export has.

    Args:
        started: What `export.project` returned.
    """
    names = ["export.project", "msg.announce", "export.bundle", "msg.notify"]
    names += ["msg.remind"]
    if "webhook" in started:
        names.append("msg.webhook")
    chunks = started["chunks"]
    return Counter({"export.describe": chunks, "export.pack": chunks}) + Counter(names)


def find_problems(tasks: Iterable[Task], plan: Counter[str]) -> list[str]:
    """Return what is not as it has to be once an export is done; at best nothing."""
    tasks = list(tasks)
    found = Counter(task.name or "" for task in tasks)
    problems = [
        f"{name}: {found[name]} of {plan[name]} tasks in the database"
        for name in sorted(plan | found)
        if found[name] != plan[name]
    ]
    return problems + [problem for task in tasks if (problem := _problem(task))]


def find_failures(tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks that have failed and should not."""
    return [
        task
        for task in tasks
        if task.status in FINAL - {"SUCCESS"} and task.name not in FAILING
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
