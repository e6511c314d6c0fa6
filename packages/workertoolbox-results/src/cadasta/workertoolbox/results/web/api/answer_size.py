"""How much one answer of the API may contain.

Tasks have arguments and results of up to 64 KiB each, so that 500 of them could fill
the memory of the server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from cadasta.workertoolbox.results._query_errors import InvalidPage
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._task import Task

#: Bytes of JSON after which an answer has no further tasks.
MAX_BYTES = 8 * 1024 * 1024

#: Number of tasks that are read first. How large they are says how many are read next.
FIRST_TASKS = 50


class AnswerSize:
    """The tasks in an answer, and their size.

    Args:
        limit: Maximum number of tasks.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks = self._bytes = 0

    def add(self, tasks: Iterable[Task]) -> None:
        """Count tasks that are in the answer."""
        for each in tasks:
            self._tasks += 1
            self._bytes += len(json.dumps(each.as_json()))

    def next_count(self) -> int:
        """Return how many tasks may be read next; 0 if the answer is full."""
        left = self._limit - self._tasks
        if not self._tasks:
            return min(left, FIRST_TASKS)
        if self._bytes >= MAX_BYTES:
            return 0
        fitting = (MAX_BYTES - self._bytes) * self._tasks // self._bytes
        return min(left, max(fitting, 1), 2 * self._tasks)


def read_bounded(store: TaskStore, ids: Sequence[str], limit: int) -> Sequence[Task]:
    """Return the first of these tasks, as many as an answer may contain."""
    size, found, place = AnswerSize(limit), list[Task](), 0
    while place < len(ids) and (count := size.next_count()):
        some = store.find_all(ids[place : place + count], limited=True)
        size.add(some)
        found += some
        place += count
    return found


def next_token(ids: Sequence[str], tasks: Sequence[Task]) -> str | None:
    """Return the token of the page after some tasks; None if they are the last."""
    return tasks[-1].id if tasks and tasks[-1].id != ids[-1] else None


def ids_after(ids: Sequence[str], page: str | None) -> Sequence[str]:
    """Return the ids after the last one of the page before.

    Raises:
        InvalidPage: That is not one of the ids.
    """
    if page is None:
        return ids
    if page not in ids:
        raise InvalidPage(page, "is not the id of one of these tasks")
    return ids[ids.index(page) + 1 :]
