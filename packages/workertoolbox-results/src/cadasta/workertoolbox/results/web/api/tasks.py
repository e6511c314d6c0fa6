"""`/tasks`: tasks, and what is known of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starlette.exceptions import HTTPException

from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.search.unusual import UnusualTask
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._store.tasks.attempts import Attempt
from cadasta.workertoolbox.results._store.why.reason import Reason
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results.web.api.answer_size import (
    AnswerSize,
    ids_after,
    next_token,
    read_bounded,
)
from cadasta.workertoolbox.results.web.api.endpoints import Endpoint
from cadasta.workertoolbox.results.web.api.parameters import (
    Duration,
    Flagged,
    Id,
    Instant,
    Limit,
    Name,
    Query,
    Token,
)

#: How long ago the latest state of an untracked task was stored, at most, by default.
_UNTRACKED_SINCE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage(JsonRecord):
    """One page of a search.

    Attributes:
        items: The tasks, newest first.
        next: The token of the next page, for `page`; None on the last page.
        since: The start of the window that was searched; None without one.
        until: Its end, likewise.
    """

    items: Sequence[Task]
    next: str | None
    since: datetime | None
    until: datetime | None


def search(
    store: TaskStore,
    *,
    query: Query = "",
    since: Instant = None,
    until: Instant = None,
    limit: Limit = 50,
    page: Token = None,
    internal: Flagged = False,
) -> TaskPage:
    """Return the tasks that match a query, newest first.

    A page ends early after 8 MiB. Results of more than 64 KiB are `<truncated: …>`.

    Args:
        query: In the language of `docs/reference/searching.md`, as in `status:failure`.
        since: Only tasks that were published since then, or have ended since then if
            they are sorted by their end.
        until: Only tasks before this instant.
        limit: Maximum number of tasks on a page.
        page: `next` of the page before. `since` and `until` are those of that page.
        internal: Whether to include Celery's own tasks, `celery.*`.
    """
    size, tasks = AnswerSize(limit), list[Task]()
    found = None
    while (found is None or page) and (count := size.next_count()):
        found = store.search(
            query,
            since=since,
            until=until,
            limit=count,
            page=page,
            internal=internal,
            limited=True,
        )
        size.add(found.tasks)
        tasks += found.tasks
        page = found.next
    assert found is not None  # An answer may have a task.
    return TaskPage(items=tasks, next=page, since=found.since, until=found.until)


def get(store: TaskStore, *, id: Id) -> Task:
    """Return a task.

    Args:
        id: Id of the task.
    """
    return store.get(id)


def attempts(store: TaskStore, *, id: Id) -> Sequence[Attempt]:
    """Return the attempts of a task in order, also those that are still to run.

    Args:
        id: Id of the task.
    """
    return store.attempts(id) or _nothing_of(store, id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildPage(JsonRecord):
    """Some of the tasks that a task has published.

    Attributes:
        items: The tasks, oldest first.
        next: The token of the next page, for `page`; None on the last page.
    """

    items: Sequence[Task]
    next: str | None


def children(
    store: TaskStore,
    *,
    id: Id,
    limit: Limit = 50,
    page: Token = None,
    internal: Flagged = False,
) -> ChildPage:
    """Return the tasks that a task has published, oldest first.

    A page ends early after 8 MiB. Results of more than 64 KiB are `<truncated: …>`.

    Args:
        id: Id of the task.
        limit: Maximum number of tasks on a page.
        page: `next` of the page before.
        internal: Whether to include Celery's own tasks, `celery.*`.
    """
    found = store.children(id, internal=internal, brief=True) or _nothing_of(store, id)
    ids = ids_after([each.id for each in found], page)
    tasks = read_bounded(store, ids, limit)
    return ChildPage(items=tasks, next=next_token(ids, tasks))


def why(store: TaskStore, *, id: Id) -> Reason:
    """Return why a task has not run or has not finished, or how it ended.

    An id that was never seen has a reason too. Times in sentences are in UTC.

    Args:
        id: Id of the task.
    """
    return store.why(id)


def stuck(
    store: TaskStore,
    *,
    older_than: Duration = None,
    p99: Flagged = False,
    name: Name = None,
    queue: Name = None,
    limit: Limit = 50,
    internal: Flagged = False,
) -> Sequence[Task | UnusualTask]:
    """Return tasks that have been queued or running for too long, longest first.

    With long arguments, they may be less than `limit`: not more than 8 MiB.

    Args:
        older_than: Only tasks that have waited or run for longer.
        p99: Only tasks that have waited or run for longer than 99 in 100 tasks of their
            name in the last seven days, and for longer than `older_than`, by default a
            minute. The objects then have `since`, `for_s` and `p99_s`, too.
        name: Only tasks of this name.
        queue: Only tasks of this work queue.
        limit: Maximum number of tasks.
        internal: Whether to include Celery's own tasks, `celery.*`.
    """
    if p99:
        return store.stuck_by_p99(
            at_least=older_than or timedelta(minutes=1),
            limit=limit,
            name=name,
            queue=queue,
            internal=internal,
        )
    if older_than is None:
        raise HTTPException(400, "give older_than, such as 15m, or p99=true, or both")
    found = store.stuck(
        older_than, limit=limit, name=name, queue=queue, internal=internal, brief=True
    )
    return read_bounded(store, [each.id for each in found], limit)


def untracked(
    store: TaskStore, *, since: Instant = None, limit: Limit = 50
) -> Sequence[Task]:
    """Return tasks that a worker ran although no monitor has seen their message.

    They are without arguments, result and traceback.

    Args:
        since: Only tasks whose latest state was stored since then; by default, within
            the last day.
        limit: Maximum number of tasks, newest first.
    """
    since = since or datetime.now(UTC) - _UNTRACKED_SINCE
    return store.untracked(since=since, limit=limit)


def _nothing_of(store: TaskStore, id: str) -> tuple[()]:
    """Return nothing.

    Raises:
        TaskNotFound: The task itself is not known.
    """
    store.get(id, shortened=True)
    return ()


ENDPOINTS = (
    Endpoint("/tasks", search),
    Endpoint("/tasks/{id}/attempts", attempts),
    Endpoint("/tasks/{id}/children", children),
    Endpoint("/tasks/{id}/why", why),
    Endpoint("/tasks/{id}", get),
    Endpoint("/stuck", stuck),
    Endpoint("/untracked", untracked),
)
