"""Whether tasks are tracked as their results say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery, states
from celery.result import AsyncResult, EagerResult, GroupResult, ResultBase

from cadasta.workertoolbox.results import Task, TaskStore

#: Seconds between two looks into the database.
INTERVAL_S = 0.05


@dataclass(frozen=True)
class _Expected:
    """A task that was published, and what its result tells of where it belongs."""

    result: AsyncResult[Any]
    parent_id: str | None = None
    group_id: str | None = None

    def problems(self, store: TaskStore) -> Iterator[str]:
        task = store.find(self.result.id)
        if task is None:
            yield "neither a monitor nor a worker has seen it"
            return
        if task.status == "PLANNED":
            yield "another task announces it, and no message of its own was seen"
            return
        if not task.tracked:
            yield f"a worker says {task.status}, and no monitor saw a message of it"
            return
        retries = self.result.retries or 0
        published = {*store.published_attempts(task.id)}
        for attempt in sorted({*range(retries + 1)} - published):
            yield f"no monitor saw the message of its attempt {attempt + 1}"
        for what, expected, seen in self._facts(task):
            if expected is not None and seen != expected:
                yield f"its {what} is {seen!r} in the database, and not {expected!r}"
        parent = self.parent_id and store.find(self.parent_id)
        if parent and task.root_id != parent.root_id:
            yield (
                f"its root is {task.root_id!r} in the database, and its parent's is "
                f"{parent.root_id!r}"
            )

    def _facts(self, task: Task) -> Iterator[tuple[str, str | None, str | None]]:
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
    """Wait until every task of a result is tracked, and return them.

    Of each the database has a message for each attempt, and the status, name and queue
    that its result has; steps of a chain have their parent and its root, and members
    of a group their group.

    Args:
        app: The app that published it.
        result: What `delay`, `apply_async` or a workflow returned, or a task's id.
        timeout_s: Longest time in seconds to wait.

    Raises:
        AssertionError: Some are not; says which, what was seen of them, and what lies
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
        hints = [_queue(app), *_quarantine(store)]
    lines = [f"task {id}: {'; '.join(found)}" for id, found in problems.items()]
    raise AssertionError(
        f"{len(problems)} of {len(expected)} tasks not tracked as they should be "
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
        raise AssertionError(f"{result!r} is no result of a published task")
    parent = result.parent
    if parent is not None:
        yield from _expected(app, parent)
    if isinstance(result, GroupResult):
        for member in result.results or ():
            yield from _expected(app, member, result.id)
        return
    # The parent of a chord's body is the group; the task before it is one of that.
    parent_id = parent.id if isinstance(parent, AsyncResult) else None
    yield _Expected(result, parent_id, group_id)


def _queue(app: Celery) -> str:
    name = app.conf.PLATFORM_QUEUE_NAME
    with app.connection_for_read() as connection:
        queue: Any = app.amqp.queues[name](connection.default_channel)
        count = queue.queue_declare().message_count
    if count:
        return f"queue {name!r} holds {count} messages: is a monitor running?"
    return f"queue {name!r} is empty: was the message published by the toolbox's route?"


def _quarantine(store: TaskStore) -> Iterator[str]:
    if count := store.count_quarantined():
        [latest] = store.quarantine_reasons(limit=1)
        yield f"messages in quarantine: {count}, the latest: {latest}"
