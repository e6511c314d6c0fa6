"""How a task ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from celery import states
from sqlalchemy import select

from cadasta.workertoolbox.results._database.statuses import LOST
from cadasta.workertoolbox.results._database.tables import error_group
from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._number_text import counted
from cadasta.workertoolbox.results._store.why.case import Case
from cadasta.workertoolbox.results._store.why.reason import (
    Cause,
    Explained,
    Finding,
    first_line,
)
from cadasta.workertoolbox.results._task import failure_text

#: Errors that say how a task ended, and not what is wrong with it.
_OWN_CAUSES = {
    "TimeLimitExceeded": Cause.TIME_LIMIT,
    "SoftTimeLimitExceeded": Cause.TIME_LIMIT,
    "WorkerLostError": Cause.WORKER_LOST,
}

#: Errors that workers store for messages that they discard before a task starts.
_DISCARDED = {
    "NotRegistered": Cause.NOT_REGISTERED,
    "InvalidTaskError": Cause.INVALID_MESSAGE,
}

#: How the reason of a revocation begins.
_REVOCATIONS = {
    "expired": Cause.EXPIRED,
    "terminated": Cause.TERMINATED,
    "purged from queue ": Cause.PURGED,
    "refused by the broker": Cause.REFUSED,
}

#: The task in a text such as `not run: export.fetch[7a61…] failed`.
_FAILED_STEP = re.compile(r"\[([^\]]+)\] [^\]]*$")


def explain_end(
    case: Case, explain_other: Callable[[str], Explained | None]
) -> Finding:
    """Return how a task ended.

    Args:
        explain_other: Explains the task that kept a step from running.
    """
    if case.not_run is not None:
        return _not_run(case, explain_other)
    match case.task.status:
        case states.SUCCESS:
            return _succeeded(case)
        case states.REVOKED:
            return _revoked(case)
        case states.IGNORED:
            return _ignored(case)
        case states.REJECTED:
            return _with_reason(case, Cause.REJECTED, "rejected its message")
    return _lost(case) if case.task.status == LOST else _failed(case)


def failed_step(not_run: str) -> str | None:
    """Return the id of the task that kept a step from running."""
    found = _FAILED_STEP.search(not_run)
    return found and found[1]


def _evidence(case: Case, **values: Any) -> Mapping[str, Any]:
    task = case.task
    return {
        "ended_at": task.finished_at,
        "started_at": task.started_at,
        "ran_s": task.run_s,
        "waited_s": task.wait_s,
        "worker": task.worker,
        "queue": task.queue,
        "retries": task.retries or None,
        **values,
    }


def _when(case: Case) -> str:
    at = case.task.finished_at
    return "" if at is None else f" at {case.clock.shown(at)}"


def _where(case: Case) -> str:
    return "" if case.task.worker is None else f" on {case.task.worker}"


def _after_retries(case: Case) -> str:
    number = case.task.retries
    return f" after {counted(number, 'retry', 'retries')}" if number else ""


def _succeeded(case: Case) -> Finding:
    ran = case.task.run_s
    took = "" if ran is None else f"; it ran for {duration_text(ran)}"
    text = f"succeeded{_when(case)}{_where(case)}{_after_retries(case)}{took}"
    return Finding(Cause.SUCCEEDED, text, _evidence(case))


def _failed(case: Case) -> Finding:
    kind = _kind_of(case.task.result)
    error = first_line(failure_text(case.task.result) or str(case.task.result or ""))
    if case.task.started_at is None and kind in _DISCARDED:
        return _discarded(case, _DISCARDED[kind], error)
    cause = _OWN_CAUSES.get(kind, Cause.FAILED)
    group = _group_of(case)
    text = f"failed{_when(case)}{_where(case)}{_after_retries(case)}"
    if error:
        text += f" with {error.removesuffix(':')}"
    if group:
        since: datetime = group["group_first_at"]
        errors = counted(group["group_count"], "error")
        text += f" (error group {case.error_group}: {errors} since "
        text += f"{case.clock.shown(since)})"
    ended = _evidence(case, error=error, error_group=case.error_group, **group)
    return Finding(cause, text, ended)


def _discarded(case: Case, cause: Cause, error: str) -> Finding:
    worker = case.task.worker
    by = f"by {worker}" if worker else "by a worker"
    if cause is Cause.NOT_REGISTERED:
        # The message may arrive later than the failure.
        name = case.task.name or error.removeprefix("NotRegistered: ")
        text = f"was discarded{_when(case)} {by}, which has no task called {name!r}"
    else:
        text = f"was discarded{_when(case)} {by}: {error}"
    return Finding(cause, text, _evidence(case, error=error))


def _revoked(case: Case) -> Finding:
    text = failure_text(case.task.result) or ""
    reason = first_line(text.removeprefix("TaskRevokedError: "))
    cause = next(
        (cause for begin, cause in _REVOCATIONS.items() if reason.startswith(begin)),
        Cause.REVOKED,
    )
    when, evidence = _when(case), _evidence(case, reason=reason)
    if cause is Cause.EXPIRED:
        return _expired(case, evidence)
    words = {
        Cause.REVOKED: f"was revoked{when}, before it ran",
        Cause.TERMINATED: f"was terminated{when} while it ran{_where(case)}",
        Cause.PURGED: f"was {reason}{when}",
        Cause.REFUSED: f"was {reason}{when}",
    }
    return Finding(cause, words[cause], evidence)


def _expired(case: Case, evidence: Mapping[str, Any]) -> Finding:
    expires = case.expires
    if expires is None:
        text = f"expired before a worker started it; its end was stored{_when(case)}"
    else:
        text = f"expired at {case.clock.shown(expires)}, before a worker started it"
    published_at = case.task.scheduled_at
    if published_at is not None:
        text += f"; it was published at {case.clock.shown(published_at)}"
    known = {"expires_at": expires, "published_at": published_at}
    return Finding(Cause.EXPIRED, text, {**evidence, **known})


def explain_expired(case: Case) -> Finding:
    """Explain a task that has expired, and that is not shown as revoked yet."""
    return _expired(case, {"queue": case.queue})


def _ignored(case: Case) -> Finding:
    if case.task.worker is None:
        if case.task.result:  # See `_history/outcomes.py`.
            return Finding(
                Cause.RESULTS_ELSEWHERE,
                f"was sent to queue {case.queue}, and {case.task.result}",
                _evidence(case),
            )
        # The archiver has stored the end; see `_history/earlier_ends.py`.
        text = "ended before an upgrade of the database, and its outcome was deleted"
        return Finding(Cause.IGNORED, text, _evidence(case))
    return _with_reason(case, Cause.IGNORED, "raised Ignore")


def _with_reason(case: Case, cause: Cause, event: str) -> Finding:
    reason = first_line(str(case.task.result or ""))
    text = f"{event}{_when(case)}{_where(case)}"
    text += f": {reason}" if reason else ""
    return Finding(cause, text, _evidence(case, reason=reason or None))


def _lost(case: Case) -> Finding:
    started_at, worker = case.task.started_at, case.task.worker or "its worker"
    if started_at is None:
        text = f"is lost: {worker} started it and never stored its end"
    else:
        text = f"is lost: {worker} started it at {case.clock.shown(started_at)}"
        text += " and never stored its end"
    text += f", so it was given up{_when(case)}"
    reason = first_line(str(case.task.result or ""))
    return Finding(Cause.LOST, text, _evidence(case, reason=reason))


def _not_run(case: Case, explain_other: Callable[[str], Explained | None]) -> Finding:
    reason = str(case.not_run).removeprefix("not run: ")
    id = failed_step(reason)
    because = None if id in (None, case.task.id) else explain_other(str(id))
    if because is None:
        text = f"was never published, because {first_line(reason)}"
    else:
        text = f"was never published, because {because.label} "
        text += because.finding.predicate
    evidence = {"ended_at": case.task.finished_at, "reason": case.not_run}
    return Finding(Cause.NOT_RUN, text, evidence, because)


def _kind_of(result: Any) -> str:
    match result:
        case {"exc_type": str(kind)}:
            return kind
    return ""


def _group_of(case: Case) -> dict[str, Any]:
    """Return what is known of the group of the error; empty without a group."""
    if case.error_group is None:
        return {}
    columns = error_group.c
    query = select(columns["count"], columns.first_at, columns.state).where(
        columns.id == case.error_group, columns["count"] > 0
    )
    row = case.connection.execute(query).first()
    if row is None:
        return {}
    count, first_at, state = row
    return {"group_count": count, "group_first_at": first_at, "group_state": state}
