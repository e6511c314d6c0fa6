"""Why a task that a worker has started has not ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, text

from cadasta.workertoolbox.results._database.statuses import LOST
from cadasta.workertoolbox.results._database.tables import IS_OPEN, history, taskmeta
from cadasta.workertoolbox.results._database.types import naive_utc
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._history.ended_tasks import SILENT_S
from cadasta.workertoolbox.results._number_text import counted
from cadasta.workertoolbox.results._store.rows.day_windows import on_days_since
from cadasta.workertoolbox.results._store.tasks.attempts import Attempt
from cadasta.workertoolbox.results._store.why.case import Case
from cadasta.workertoolbox.results._store.why.reason import (
    Cause,
    Finding,
    listed,
)

#: A task is never called slow before this time, in seconds, whatever is usual.
PATIENCE_S = 60.0

#: Seconds after which a task runs for long if none of its name has ended lately.
LONG_S = 3600.0

#: Seconds without a state from its worker after which a task that runs for long counts
#: as abandoned.
SILENCE_S = SILENT_S

#: How many days back the ends of a worker's tasks are searched.
SEARCHED_DAYS = 7


def explain_run(case: Case) -> Finding:
    """Return why a task that runs has not ended."""
    task, clock = case.task, case.clock
    started_at = task.started_at or case.stored_at or clock.now
    run_s = clock.since_s(started_at)
    worker = task.worker or "an unknown worker"
    lost = [each for each in case.attempts if each.outcome == LOST]
    limit_s = case.message.get("time_limit_s")
    evidence: dict[str, Any] = {
        "started_at": started_at,
        "running_s": run_s,
        "worker": task.worker,
        "queue": task.queue,
        "p99_s": case.usual_run_s,
        "time_limit_s": limit_s,
        "state": task.status,
    }
    at = clock.shown(started_at)
    bounds = [each for each in (case.usual_run_s, limit_s) if each is not None]
    is_long = run_s > max(PATIENCE_S, min(bounds, default=LONG_S))
    if is_long and task.worker is not None:
        seen_at = _last_seen(case.connection, task.worker, started_at)
        evidence["worker_seen_at"] = seen_at
        if clock.since_s(seen_at) > SILENCE_S:
            since = "then" if seen_at <= started_at else clock.shown(seen_at)
            words = f"has run on {worker} since {at}, and {worker} has stored nothing "
            words += f"since {since}"
            return Finding(Cause.WORKER_SILENT, words + _compared(case), evidence)
    if lost:
        return _redelivered(lost, f"has been running on {worker} since {at}", evidence)
    words = f"has been running on {worker} since {at}"
    cause = Cause.RUNNING_LONG if is_long else Cause.RUNNING
    return Finding(cause, words + _compared(case), evidence)


def _compared(case: Case) -> str:
    """Return the usual time of its name, and its time limit."""
    usual_s, limit_s = case.usual_run_s, case.message.get("time_limit_s")
    texts = []
    if usual_s is not None:
        texts.append(f"99 in 100 tasks of its name take up to {duration_text(usual_s)}")
    if limit_s is not None:
        texts.append(f"its time limit is {duration_text(limit_s)}")
    return f"; {' and '.join(texts)}" if texts else ""


def _redelivered(lost: list[Attempt], now: str, evidence: dict[str, Any]) -> Finding:
    workers = sorted({each.worker for each in lost if each.worker is not None})
    of_workers = f" on {listed(workers)}" if workers else ""
    words = (
        f"has been delivered {len(lost) + 1} times, because "
        f"{counted(len(lost), 'run')}{of_workers} never ended, and {now}"
    )
    known = {"deliveries": len(lost) + 1, "lost_workers": workers}
    return Finding(Cause.REDELIVERED, words, {**evidence, **known})


def _last_seen(connection: Connection, worker: str, since: datetime) -> datetime:
    """Return when a worker last started or ended a task, or `since` if not later.

    Results that are not archived are searched for the last minutes only.
    """
    result = taskmeta.c
    recently = naive_utc(datetime.now(UTC) - timedelta(seconds=SILENCE_S))
    stored = select(func.max(result.date_done, type_=result.date_done.type)).where(
        result.date_done >= recently, result.worker == worker
    )
    started = select(func.max(result.started_at, type_=result.started_at.type)).where(
        text(IS_OPEN), result.worker == worker
    )
    ended = select(func.max(history.c.finished_at, type_=history.c.finished_at.type))
    first = max(since, datetime.now(UTC) - timedelta(days=SEARCHED_DAYS))
    ended = ended.where(on_days_since(first), history.c.worker == worker)
    known = [since]
    for query in (stored, started, ended):
        at: datetime | None = connection.scalar(query)
        if at is not None:
            known.append(at if at.tzinfo else at.replace(tzinfo=UTC))
    return max(known)
