"""Compare the rows of tasks in the database with the results of the tasks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery, states
from celery.result import AsyncResult, EagerResult, GroupResult, ResultBase

from cadasta.workertoolbox.results import Task, TaskStore

#: Seconds between two queries of the database.
INTERVAL_S = 0.05


@dataclass(frozen=True)
class _Expected:
    """A published task, with the parent and the group that its result names."""

    result: AsyncResult[Any]
    parent_id: str | None = None
    group_id: str | None = None

    def problems(self, store: TaskStore) -> Iterator[str]:
        task = store.find(self.result.id)
        if task is None:
            yield "neither a monitor nor a worker has seen it"
            return
        if task.waiting and task.scheduled_at is None:
            yield "it is planned by another task, but its own message was not seen"
            parent = self.parent_id and store.find(self.parent_id)
            if parent and parent.waiting:
                yield f"no worker has run task {parent.id}, which it follows"
            return
        if not task.tracked:
            yield f"a worker stored {task.status}, but no monitor has seen its message"
            return
        retries = self.result.retries or 0
        published = {*store.published_attempts(task.id)}
        for attempt in sorted({*range(retries + 1)} - published):
            yield f"no monitor has seen the message of attempt {attempt + 1}"
        for what, expected, seen in self._fields(task):
            if expected is not None and seen != expected:
                yield f"its {what} is {seen!r} in the database instead of {expected!r}"
        parent = self.parent_id and store.find(self.parent_id)
        if parent and task.root_id != parent.root_id:
            yield (
                f"its root is {task.root_id!r} in the database instead of "
                f"{parent.root_id!r}, the root of its parent"
            )

    def _fields(self, task: Task) -> Iterator[tuple[str, str | None, str | None]]:
        status = self.result.state
        waiting = status == states.PENDING and task.waiting
        yield "status", None if waiting else status, task.status
        yield "name", self.result.name, task.name
        yield "queue", self.result.queue, task.queue
        yield "parent", self.parent_id, task.parent_id
        yield "group", self.group_id, task.group_id


def assert_tracked(
    app: Celery, result: ResultBase | str, *, timeout_s: float = 10.0
) -> Sequence[Task]:
    """Wait until every task of a result is tracked, and return the tasks.

    A task is tracked if the database has a message for each attempt, and agrees with
    the result about status, name and queue. The steps of a chain must also have their
    parent and its root, and the members of a group their group.

    Args:
        app: The app that published the tasks.
        result: What `delay`, `apply_async` or a workflow returned, or the id of a task.
        timeout_s: Seconds to wait.

    Raises:
        AssertionError: Tasks are not tracked. The message lists them, with the messages
            in the monitor queue and in quarantine.
    """
    expected = list(_expected(app, result))
    deadline = time.monotonic() + timeout_s
    with TaskStore.for_app(app) as store:
        while True:
            problems = {
                one.result.id: found
                for one in expected
                if (found := list(one.problems(store)))
            }
            if not problems:
                return [store.get(one.result.id) for one in expected]
            if time.monotonic() >= deadline:
                break
            time.sleep(INTERVAL_S)
        hints = [*_queue_hints(app), *_quarantine_hint(store)]
    lines = [f"task {id}: {'; '.join(found)}" for id, found in problems.items()]
    raise AssertionError(
        f"{len(problems)} of {len(expected)} tasks are not tracked correctly "
        f"after {timeout_s:g} s\n" + "\n".join([*lines, *hints])
    )


def _expected(
    app: Celery, result: Any, group_id: str | None = None
) -> Iterator[_Expected]:
    if isinstance(result, str):
        result = app.AsyncResult(result)
    if isinstance(result, EagerResult):
        raise AssertionError(
            f"task {result.id} was not published: apply() or task_always_eager ran it "
            "in this process; call delay() or apply_async()"
        )
    if not isinstance(result, AsyncResult | GroupResult):
        raise AssertionError(
            f"{result!r} is not the result of a published task; pass what delay() or "
            "apply_async() returned, or the id of a task"
        )
    parent = result.parent
    if parent is not None:
        yield from _expected(app, parent)
    if isinstance(result, GroupResult):
        for member in result.results or ():
            yield from _expected(app, member, result.id)
        return
    # The parent of a chord's body is the group; its parent task is one of the members.
    parent_id = parent.id if isinstance(parent, AsyncResult) else None
    yield _Expected(result, parent_id, group_id)


def _queue_hints(app: Celery) -> Iterator[str]:
    """Yield which queues hold messages that no monitor or no worker has taken."""
    monitor = app.conf.PLATFORM_QUEUE_NAME
    with app.connection_for_read() as connection:
        bound: dict[str, Any] = {
            name: queue(connection.default_channel)
            for name, queue in app.amqp.queues.items()
        }
        counts = {
            name: queue.queue_declare().message_count for name, queue in bound.items()
        }
    if not any(counts.values()):
        yield f"queue {monitor!r} is empty; was the task routed by the toolbox?"
    for name, count in counts.items():
        if count:
            process = "monitor" if name == monitor else "worker"
            yield f"messages in queue {name!r}: {count}; is a {process} running?"


def _quarantine_hint(store: TaskStore) -> Iterator[str]:
    if count := store.count_quarantined():
        [latest] = store.quarantine_reasons(limit=1)
        yield f"messages in quarantine: {count}, the latest: {latest}"
