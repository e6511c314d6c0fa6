"""The tasks of a search as CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, tzinfo

from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results.web.searching.task_search import TaskSearch

#: Maximum number of rows, so that no download keeps the database busy for long;
#: `tasks export` has no limit.
MAX_ROWS = 10_000

#: The number of tasks that are read at once.
_PAGE_SIZE = 500

#: Characters at the beginning of a cell that spreadsheets take for a formula; see
#: https://owasp.org/www-community/attacks/CSV_Injection.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

#: The columns of the page, with the value of each for a task. The keys are those of
#: `--json`; `wait_s` and `run_s` are seconds.
COLUMNS: Mapping[str, Callable[[Task], str | float | int | None]] = {
    "id": lambda task: task.id,
    "name": lambda task: task.name,
    "status": lambda task: task.status,
    "retries": lambda task: task.retries,
    "queue": lambda task: task.queue,
    "worker": lambda task: task.worker,
    "scheduled_at": lambda task: _instant(task.scheduled_at),
    "wait_s": lambda task: task.wait_s,
    "run_s": lambda task: task.run_s,
}


def csv_lines(store: TaskStore, search: TaskSearch, zone: tzinfo) -> Iterator[str]:
    """Return the lines of a search from its page on, a few hundred at a time.

    The first tasks are read before it returns, so that a search that cannot be
    understood is an error at once.

    Raises:
        ResultsError: Those of `TaskSearch.read`.
    """
    first = search.read(store, zone, limit=_PAGE_SIZE)

    def lines() -> Iterator[str]:
        page, rest = first, MAX_ROWS - len(first.tasks)
        yield _text([COLUMNS])
        yield _text(map(_row, page.tasks))
        while page.next is not None and rest > 0:
            later = replace(search, page=page.next)
            page = later.read(store, zone, limit=min(rest, _PAGE_SIZE))
            rest -= len(page.tasks)
            yield _text(map(_row, page.tasks))

    return lines()


def guarded(value: str | float | int | None) -> str:
    """Return a value for a cell; a text that looks like a formula begins with `'`."""
    text = "" if value is None else str(value)
    is_text = isinstance(value, str)
    return f"'{text}" if is_text and text.startswith(_FORMULA) else text


def _row(task: Task) -> Iterator[str]:
    return (guarded(value(task)) for value in COLUMNS.values())


def _text(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
