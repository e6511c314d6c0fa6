"""`TaskStore.why`: why a task has not run, has not finished, or how it ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, tzinfo

from celery import states
from sqlalchemy import Connection

from cadasta.workertoolbox.results._database.statuses import (
    ENDED,
    PLANNED,
    QUEUED,
    SCHEDULED,
)
from cadasta.workertoolbox.results._store.open_database import OpenDatabase
from cadasta.workertoolbox.results._store.rows.ids import stored_id
from cadasta.workertoolbox.results._store.why.case import Case, read_case
from cadasta.workertoolbox.results._store.why.ended import explain_end
from cadasta.workertoolbox.results._store.why.planned import explain_plan
from cadasta.workertoolbox.results._store.why.reason import (
    Clock,
    Explained,
    Finding,
    Reason,
)
from cadasta.workertoolbox.results._store.why.running import explain_run
from cadasta.workertoolbox.results._store.why.unseen import explain_unknown
from cadasta.workertoolbox.results._store.why.waiting import (
    explain_retry,
    explain_wait,
)
from cadasta.workertoolbox.results._task import Task

#: Maximum number of reasons that follow each other. Steps of a workflow are skipped up
#: to the one that holds it up, so that a chain of reasons is short.
MAX_REASONS = 5


class Reasons(OpenDatabase):
    """The method of `TaskStore` that explains a task."""

    def why(self, id: str, *, zone: tzinfo | None = UTC) -> Reason:
        """Explain why a task has not run, has not finished, or how it ended.

        An unknown id is a reason too: `Cause.UNKNOWN`, unless a message with this id is
        in quarantine, or the monitors are behind.

        Example:
            Print what holds up a task::

                reason = store.why(id)
                print(reason.sentence)
                if reason.is_trouble:
                    print(reason.cause, reason.evidence)

        Args:
            id: Id of the task.
            zone: The time zone of the times in sentences; None for the local one.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        clock = Clock(datetime.now(UTC), zone)
        with self._snapshot() as connection:
            asked = stored_id(id)
            explained = _Explanation(connection, clock).explain(asked)
            if explained is None:
                found = explain_unknown(connection, clock, asked)
                explained = Explained(asked, None, None, found)
        return explained.as_reason()


class _Explanation:
    """Explains a task, and the tasks that it waits for, each of them once."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._seen: set[str] = set()

    def explain(self, id: str, known: Task | None = None) -> Explained | None:
        """Explain a task; None if it is unknown, or was explained already.

        Args:
            known: As for `read_case`.
        """
        if id in self._seen or len(self._seen) >= MAX_REASONS:
            return None
        self._seen.add(id)
        case = read_case(self._connection, self._clock, id, known)
        if case is None:
            return None
        task = case.task
        return Explained(task.id, task.name, task.status, self._find(case))

    def _find(self, case: Case) -> Finding:
        status = case.task.status
        if status in ENDED:
            found = explain_end(case, self.explain)
        elif status == PLANNED:
            found = explain_plan(case, self.explain)
        elif status in (QUEUED, SCHEDULED):
            found = explain_wait(case, self.explain)
        elif status == states.RETRY:
            found = explain_retry(case, self.explain)
        else:
            found = explain_run(case)
        if case.task.tracked:
            return found
        words = f"{found.predicate}; no monitor has seen its message"
        known = {**found.evidence, "tracked": False}
        return replace(found, predicate=words, evidence=known)
