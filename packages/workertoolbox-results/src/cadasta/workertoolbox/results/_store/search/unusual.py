"""Tasks that wait or run for longer than almost all others of their name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import ClassVar, Literal

from celery import states
from sqlalchemy import Connection, func, select

from cadasta.workertoolbox.results._database.statuses import BEFORE_RESULT
from cadasta.workertoolbox.results._database.tables import rollup
from cadasta.workertoolbox.results._history.histogram import Histogram
from cadasta.workertoolbox.results._history.tiers import TIERS, interval_start
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._store.open_database import NAMED, OpenDatabase
from cadasta.workertoolbox.results._store.rows.dated_ids import DatedId
from cadasta.workertoolbox.results._store.rows.filters import Filters
from cadasta.workertoolbox.results._store.rows.reading import read_tasks
from cadasta.workertoolbox.results._store.rows.task_rows import Detail
from cadasta.workertoolbox.results._store.search.filtered import find_stuck
from cadasta.workertoolbox.results._task import Task

#: The days whose ended tasks say how long a task usually takes.
USUAL_DAYS = 7

#: The share of tasks, in percent, that are faster than an unusual one.
PERCENT = 99

#: Number of tasks that are read at once.
BATCH_SIZE = 100

#: Numbers of waiting and running tasks that are compared, the longest first. The second
#: number applies only if too few of the first are unusual.
CANDIDATES = (200, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusualTask(JsonRecord):
    """A task that waits or runs for longer than 99 in 100 tasks of its name.

    Attributes:
        task: The task, without arguments, result and traceback.
        since: When it could run, or when its run began.
        for_s: Seconds since then.
        p99_s: The 99th percentile in seconds of the waits, or of the run times, of the
            tasks of its name in the last seven days; None if none has ended.
    """

    json_merged: ClassVar = frozenset({"task"})

    task: Task
    since: datetime
    for_s: float
    p99_s: float | None


#: Columns of the figures with the histograms of the waits and of the run times.
Measure = Literal["waits", "runs"]


class UnusualTasks(OpenDatabase):
    """The method of `TaskStore` for tasks that take unusually long."""

    def stuck_by_p99(
        self,
        *,
        at_least: timedelta = timedelta(minutes=1),
        limit: int = 50,
        name: str | None = None,
        queue: str | None = None,
        internal: bool = False,
    ) -> Sequence[UnusualTask]:
        """Return tasks that wait or run for longer than 99 in 100 of their name.

        They are sorted by how long they have waited or run, the longest first. The
        thousand longest are compared. One bound for all tasks, as `stuck` has, is too
        short for a nightly report or too long for a request.

        Example:
            Tasks that hang, with how many times longer than usual::

                for found in store.stuck_by_p99():
                    print(found.task.id, found.for_s / (found.p99_s or found.for_s))

        Args:
            at_least: Only tasks that wait or run for longer than this. It is the only
                bound for names without an ended task in seven days.
            limit: Maximum number of tasks to return.
            name: Only tasks of this name.
            queue: Only tasks of this work queue.
            internal: Whether to include Celery's own tasks, `celery.*`. With `name`
                they are always included.

        Raises:
            DatabaseUnavailable: The database cannot be reached or refuses the query.
        """
        filters = Filters(name=name, queue=queue, internal=internal)
        now = datetime.now(UTC)
        before = now - at_least
        with self._snapshot(NAMED) as connection:
            for number in CANDIDATES:
                candidates = find_stuck(connection, filters, number, before=before)
                found = [*islice(_unusual(connection, candidates, now), limit)]
                if len(found) == limit or len(candidates) < number:
                    break
            return found


def _unusual(
    connection: Connection, candidates: Sequence[DatedId], now: datetime
) -> Iterator[UnusualTask]:
    usual: dict[Measure, dict[str, float | None]] = {"waits": {}, "runs": {}}
    for start in range(0, len(candidates), BATCH_SIZE):
        since = {each.id: each.at for each in candidates[start : start + BATCH_SIZE]}
        tasks = read_tasks(connection, [*since], days={}, detail=Detail.BRIEF)
        for measure, known in usual.items():
            compared = {each.name or "" for each in tasks if _measure(each) == measure}
            names = compared - known.keys()
            known |= dict.fromkeys(names)
            known |= read_usual(connection, measure, names, now)
        for task in tasks:
            for_s = (now - since[task.id]).total_seconds()
            p99_s = usual[_measure(task)][task.name or ""]
            if for_s > (p99_s or 0.0):
                yield UnusualTask(
                    task=task, since=since[task.id], for_s=for_s, p99_s=p99_s
                )


def _measure(task: Task) -> Measure:
    is_waiting = task.status in (*BEFORE_RESULT, states.RETRY)
    return "waits" if is_waiting else "runs"


def read_usual(
    connection: Connection, measure: Measure, names: Collection[str], now: datetime
) -> dict[str, float | None]:
    """Return the 99th percentile in seconds of the waits or run times of each name.

    A name without an ended task in the last seven days is left out.
    """
    if not names:
        return {}
    first = interval_start(now - timedelta(days=USUAL_DAYS), TIERS["day"])
    # The texts are joined, as Python reads few long rows faster.
    texts = func.aggregate_strings(rollup.c[measure], "\n")
    query = (
        select(rollup.c.name, texts)
        .where(
            rollup.c.name.in_(names),
            rollup.c.tier == "day",
            rollup.c.at >= first,
            rollup.c.status != states.RETRY,
        )
        .group_by(rollup.c.name)
    )
    return {
        name: Histogram.from_text(text).percentile(PERCENT)
        for name, text in connection.execute(query)
    }
