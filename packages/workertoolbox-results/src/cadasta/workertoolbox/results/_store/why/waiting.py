"""Why a task has not started that a message has put into a queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._history.outcomes import where_results_are
from cadasta.workertoolbox.results._number_text import counted
from cadasta.workertoolbox.results._store.why.case import Case
from cadasta.workertoolbox.results._store.why.ended import explain_expired
from cadasta.workertoolbox.results._store.why.queue_activity import (
    MAX_ROWS,
    QueueActivity,
    Running,
    read_activity,
)
from cadasta.workertoolbox.results._store.why.reason import (
    Cause,
    Explained,
    Finding,
    first_line,
    listed,
)
from cadasta.workertoolbox.results._store.why.unseen import explain_missing_message
from cadasta.workertoolbox.results._task import failure_text

#: Seconds that a task may wait before its queue is said to be without workers, or to be
#: slow: a worker may just be starting.
PATIENCE_S = 60.0

Explain = Callable[[str], Explained | None]


def explain_wait(case: Case, explain_other: Explain) -> Finding:
    """Return why a task has not started.

    Args:
        explain_other: Explains the task that keeps the workers of the queue busy.
    """
    clock = case.clock
    due_at = case.due_at
    is_due = due_at is None or due_at <= clock.now
    if is_due and case.results_elsewhere is not None:
        return _without_outcome(case, case.results_elsewhere)
    if case.expires is not None and case.expires < clock.now:
        return explain_expired(case)
    if due_at is not None and not is_due:
        return Finding(
            Cause.ETA,
            f"is not due before its ETA at {clock.shown(due_at)}",
            {"eta_at": due_at, "queue": case.queue, **_publication(case)},
        )
    return _explain_queue(case, due_at or clock.now, explain_other)


def explain_retry(case: Case, explain_other: Explain) -> Finding:
    """Return why a task that is to be retried has not started again."""
    clock, failed_at = case.clock, case.stored_at
    error = first_line(failure_text(case.task.result) or "")
    number = case.result.get("retries") or 0
    evidence = {
        "failed_at": failed_at,
        "error": error or None,
        "retry": number + 1,
        "error_group": case.error_group,
    }
    after = f" after {error.removesuffix(':')}" if error else ""
    when = f" at {clock.shown(failed_at)}" if failed_at else ""
    failed = f"attempt {number + 1} ended{when}{after}"
    if not case.has_later_message:
        return _unseen_retry(case, failed, evidence)
    due_at = case.due_at
    if due_at is not None and due_at > clock.now:
        words = f"waits for its retry at {clock.shown(due_at)}; {failed}"
        known = {"eta_at": due_at, "queue": case.queue}
        return Finding(Cause.RETRY, words, {**evidence, **known})
    found = explain_wait(case, explain_other)
    return Finding(
        found.cause,
        f"{found.predicate}; it waits for its retry: {failed}",
        {**evidence, **found.evidence},
        found.because,
    )


def _unseen_retry(case: Case, failed: str, evidence: dict[str, Any]) -> Finding:
    what = "is to be retried, and the message of the retry has not been seen"
    missing = explain_missing_message(case.connection, case.clock, what)
    if missing is not None:
        words = f"{missing.predicate}; {failed}"
        return Finding(missing.cause, words, {**evidence, **missing.evidence})
    failed_at = case.stored_at
    is_new = failed_at is not None and case.clock.since_s(failed_at) < PATIENCE_S
    cause = Cause.RETRY if is_new else Cause.RETRY_UNSEEN
    return Finding(cause, f"{what}; {failed}", evidence)


def _without_outcome(case: Case, kind: str) -> Finding:
    known = {"queue": case.queue, "due_at": case.due_at, "results_elsewhere": kind}
    return Finding(
        Cause.RESULTS_ELSEWHERE,
        f"was sent to queue {case.queue}, and {where_results_are(kind)}",
        {**known, **_publication(case)},
    )


def _publication(case: Case) -> dict[str, Any]:
    return {
        "published_at": case.task.scheduled_at,
        "service": case.task.service,
        "origin": case.task.origin,
    }


def _explain_queue(case: Case, due_at: datetime, explain_other: Explain) -> Finding:
    clock, queue = case.clock, case.queue or ""
    activity = read_activity(case.connection, queue, due_at, clock.now)
    waited_s = max(0.0, clock.since_s(due_at))
    evidence = {
        "queue": queue,
        "due_at": due_at,
        "waiting_s": waited_s,
        "p99_s": case.usual_wait_s,
        "before": activity.before,
        "running": len(activity.running),
        "workers": [*activity.workers],
        "active_at": activity.active_at,
        "per_second": activity.per_second,
        "overtaken_by": activity.overtaken_by,
        "expires_at": case.expires,
        **_publication(case),
    }
    since = f"since {clock.shown(due_at)}"
    is_patient = waited_s <= PATIENCE_S
    if activity.overtaken_by and not is_patient:
        return Finding(Cause.OVERTAKEN, _overtaken(activity, queue, since), evidence)
    is_idle = activity.active_at is None or activity.active_at < due_at
    if is_idle and activity.running:
        return _busy(case, activity, since, evidence, explain_other)
    if is_idle and not is_patient:
        words = _without_consumer(case, activity, queue, since)
        return Finding(Cause.NO_CONSUMER, words, evidence)
    usual_s = case.usual_wait_s
    is_long = usual_s is not None and waited_s > max(PATIENCE_S, usual_s)
    words = f"has waited in queue {queue} {since}{_ahead(activity)}"
    if is_long and usual_s is not None:
        words += f", longer than the {duration_text(usual_s)} that 99 in 100 tasks of "
        words += "its name wait"
    return Finding(Cause.WAITING_LONG if is_long else Cause.WAITING, words, evidence)


def _number_before(activity: QueueActivity) -> str:
    more = "more than " if activity.before >= MAX_ROWS else ""
    return f"{more}{counted(activity.before, 'task')}"


def _ahead(activity: QueueActivity) -> str:
    """Return what is before the task, and how long that takes."""
    text = f" behind {_number_before(activity)}" if activity.before else ""
    if activity.workers:
        text += f"; {listed([*activity.workers])} "
        text += "runs" if len(activity.workers) == 1 else "run"
        text += " its tasks"
    if activity.before and activity.per_second:
        text += (
            f", at this rate for {duration_text(activity.before / activity.per_second)}"
        )
    return text


def _overtaken(activity: QueueActivity, queue: str, since: str) -> str:
    later = counted(activity.overtaken_by, "later task has", "later tasks have")
    return (
        f"has waited in queue {queue} {since}, although {later} started: a worker "
        "holds its message, or has died with it, a worker without the toolbox ran it, "
        "or the message was removed"
    )


def _without_consumer(
    case: Case, activity: QueueActivity, queue: str, since: str
) -> str:
    at = activity.active_at
    if at is None:
        last = "no task of it has ever started or ended"
    else:
        last = f"no task of it has started or ended since {case.clock.shown(at)}"
    words = f"has waited {since}, and no worker seems to consume queue {queue}: {last}"
    if activity.before:
        verb = "waits" if activity.before == 1 else "wait"
        words += f", and {_number_before(activity)} {verb} before it"
    if at is None:
        words += "; or its workers run without the result backend of the toolbox, so "
        words += "that this database does not know what they have run"
    return words


def _busy(
    case: Case,
    activity: QueueActivity,
    since: str,
    evidence: dict[str, Any],
    explain_other: Explain,
) -> Finding:
    longest: Running = activity.running[0]
    because = explain_other(longest.id)
    where = f"has waited in queue {case.queue} {since}"
    if activity.before:
        where += f" behind {_number_before(activity)}"
    workers = sorted({each.worker for each in activity.running if each.worker})
    words = f"{where}, because the workers of the queue ({listed(workers)}) are busy "
    words += f"with {counted(len(activity.running), 'task')}"
    if because is None:
        words += f", the longest since {case.clock.shown(longest.started_at)}"
    else:
        are_many = len(activity.running) > 1
        words += "; the one that has run longest is " if are_many else ": "
        words += f"{because.label}, which {because.finding.predicate}"
    usual_s, waited_s = case.usual_wait_s, evidence["waiting_s"]
    is_long = usual_s is not None and waited_s > max(PATIENCE_S, usual_s)
    cause = Cause.WAITING_LONG if is_long else Cause.BUSY
    return Finding(cause, words, evidence, because)
