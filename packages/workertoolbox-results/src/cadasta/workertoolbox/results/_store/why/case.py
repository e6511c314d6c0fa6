"""A task with what only an explanation needs of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from celery import states
from sqlalchemy import Connection, RowMapping, select

from cadasta.workertoolbox.results._database.archived import are_on, find_last_ends
from cadasta.workertoolbox.results._database.statuses import BEFORE_RESULT
from cadasta.workertoolbox.results._database.tables import history, task, taskmeta
from cadasta.workertoolbox.results._history.outcomes import is_outcome_expected
from cadasta.workertoolbox.results._store.rows.reading import read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.search.unusual import Measure, read_usual
from cadasta.workertoolbox.results._store.tasks.attempts import Attempt, find_attempts
from cadasta.workertoolbox.results._store.why.reason import Clock
from cadasta.workertoolbox.results._task import Task

_MESSAGE = (
    *("retries", "eta", "expires", "time_limit_s", "published_at", "queue"),
    "results_elsewhere",
)
_RESULT = ("retries", "date_done", "error_group", "not_run")
_ARCHIVED = ("error_group", "not_run", "expires", "published_at")


@dataclass(frozen=True)
class Case:
    """A task that is to be explained.

    Attributes:
        message: Columns of its latest message; empty if the task is archived, or no
            monitor has seen it.
        result: Columns of its latest state, or of its row in the history.
    """

    connection: Connection
    clock: Clock
    task: Task
    message: RowMapping | dict[str, Any]
    result: RowMapping | dict[str, Any]

    @cached_property
    def attempts(self) -> Sequence[Attempt]:
        """The attempts of the task in order."""
        return find_attempts(self.connection, [self.task.id])[self.task.id]

    @cached_property
    def usual_wait_s(self) -> float | None:
        """The 99th percentile of the waits of its name, if it is known."""
        return self._usual("waits")

    @cached_property
    def usual_run_s(self) -> float | None:
        """The 99th percentile of the run times of its name, if it is known."""
        return self._usual("runs")

    def _usual(self, measure: Measure) -> float | None:
        name = self.task.name or ""
        return read_usual(self.connection, measure, [name], self.clock.now).get(name)

    @property
    def error_group(self) -> str | None:
        """The key of the group of its error."""
        return self.result.get("error_group")

    @property
    def not_run(self) -> str | None:
        """Why a step is never published, as it was stored."""
        return self.result.get("not_run")

    @property
    def expires(self) -> datetime | None:
        """When its latest message expires, if it does."""
        return self.message.get("expires") or self.result.get("expires")

    @cached_property
    def results_elsewhere(self) -> str | None:
        """Where its result is stored, if workers do not store it here: `redis`."""
        kind: str | None = self.message.get("results_elsewhere")
        if kind is None:
            return None
        query = select(task.c.id).where(
            task.c.id == self.task.id, is_outcome_expected(self.clock.now)
        )
        return kind if self.connection.scalar(query) is None else None

    @property
    def stored_at(self) -> datetime | None:
        """When the latest state was stored."""
        at: datetime | None = self.result.get("date_done")
        return at and at.replace(tzinfo=UTC)

    @property
    def has_later_message(self) -> bool:
        """Whether a monitor has seen the message of the retry that is due."""
        latest = self.message.get("retries")
        return latest is not None and latest > (self.result.get("retries") or 0)

    @property
    def queue(self) -> str | None:
        """The queue of the latest message."""
        return self.message.get("queue") or self.task.queue

    @property
    def due_at(self) -> datetime | None:
        """When the latest message could run: at its ETA, or when it was published."""
        published_at = self.message.get("published_at") or self.task.scheduled_at
        if self.task.status == states.RETRY:
            # A service without the toolbox does not say when it published the retry.
            published_at = self.message.get("published_at") or self.stored_at
        if published_at is not None:
            # Its time is ahead if the clock of its publisher is.
            published_at = min(published_at, self.clock.now)
        known = [at for at in (published_at, self.message.get("eta")) if at is not None]
        return max(known, default=None)


def read_case(
    connection: Connection, clock: Clock, id: str, known: Task | None = None
) -> Case | None:
    """Read a task; return None if no monitor and no worker has seen it.

    Args:
        known: The task without its result, if it was read already.
    """
    message = _first(connection, task, _MESSAGE, task.c.id == id)
    unarchived = taskmeta.c.archived_at.is_(None)
    result = _first(connection, taskmeta, _RESULT, taskmeta.c.task_id == id, unarchived)
    if known is not None and known.status in BEFORE_RESULT:
        return Case(connection, clock, known, message, result)
    is_live = bool(message or result)
    days = None
    if not is_live:
        days = {each.id: each.day for each in find_last_ends(connection, [id])}
    found = read_tasks(
        connection, [id], days=days, detail=Detail.SHORTENED, are_live=is_live
    )
    if not found:
        return None
    if days:
        is_on = are_on(days.values())
        result = _first(connection, history, _ARCHIVED, history.c.id == id, is_on)
    return Case(connection, clock, found[0], message, result)


def _first(
    connection: Connection, table: Any, names: Sequence[str], *conditions: Any
) -> RowMapping | dict[str, Any]:
    query = select(*(table.c[name] for name in names)).where(*conditions)
    if table is history:
        query = query.order_by(history.c.day.desc())
    return connection.execute(query).mappings().first() or {}
