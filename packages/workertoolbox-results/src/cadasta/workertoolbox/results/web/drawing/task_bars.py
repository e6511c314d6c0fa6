"""What a task did when: its waits and its runs, as bars on an axis of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from celery.states import FAILURE, REJECTED, RETRY, REVOKED

from cadasta.workertoolbox.results._database.statuses import ENDED, LOST, PLANNED
from cadasta.workertoolbox.results._store.tasks.attempts import Attempt
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results.web.drawing.time_axis import TimeAxis

#: What bars stand for. A run is `retried` if its attempt failed and was followed by
#: another one, and `unknown` is the time in which a task ran at some point.
WAIT, DELAY, RUN, RUNNING, FAILED, RETRIED, UNKNOWN = (
    *("wait", "delay", "run", "running", "failed", "retried", "unknown"),
)

#: The kinds of bars with their meanings, for a legend.
KINDS = {
    WAIT: "waited",
    DELAY: "until its ETA",
    RUN: "ran",
    RUNNING: "is running",
    FAILED: "failed",
    RETRIED: "failed and was retried",
    "planned": "planned",
}

#: Outcomes of runs that did not succeed.
_FAILURES = (FAILURE, LOST, REJECTED, REVOKED)


class Span(NamedTuple):
    """A part of the time of a task: what it did from when to when."""

    kind: str
    since: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.until - self.since).total_seconds()


@dataclass(frozen=True, slots=True)
class Bar:
    """A span on an axis; `x` and `width` are percentages of the width of the axis."""

    span: Span
    x: float
    width: float

    @property
    def end(self) -> float:
        """The place of its end."""
        return round(self.x + self.width, 2)


def make_bars(spans: Sequence[Span], axis: TimeAxis) -> list[Bar]:
    """Return spans as bars on an axis."""
    bars = []
    for each in spans:
        x = axis.place(each.since)
        bars.append(Bar(each, x, round(axis.place(each.until) - x, 2)))
    return bars


def find_spans(
    task: Task, attempts: Sequence[Attempt], now: datetime
) -> Sequence[Span]:
    """Return the waits and the runs of a task, in order.

    Args:
        attempts: Its attempts, if they are known.
        now: The end of what has not ended.
    """
    if task.status == PLANNED or task.not_run:
        return ()
    known = [*attempts] or [_only_attempt(task)]
    spans: list[Span] = []
    for attempt, following in zip(known, [*known[1:], None], strict=True):
        end = _end(task, attempt, following, now)
        eta = task.eta if following is None else None
        spans += _wait(attempt, end, eta)
        spans += _run(attempt, following, end)
    return spans


def _only_attempt(task: Task) -> Attempt:
    has_ended = task.status in ENDED
    return Attempt(
        retries=task.retries,
        queue=task.queue,
        scheduled_at=task.scheduled_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        worker=task.worker,
        outcome=task.status if has_ended else None,
    )


def _end(
    task: Task, attempt: Attempt, following: Attempt | None, now: datetime
) -> datetime:
    """Return when an attempt ended; the present if it has not."""
    if attempt.finished_at is not None:
        return attempt.finished_at
    if following is not None:
        return following.scheduled_at or following.started_at or now
    return task.finished_at or now


def _wait(attempt: Attempt, end: datetime, eta: datetime | None) -> Iterator[Span]:
    begin = attempt.scheduled_at
    if begin is None:
        return
    until = attempt.started_at
    if until is None and attempt.outcome is not None:
        return  # Its worker does not store starts.
    until = end if until is None else until
    due = begin if eta is None else min(max(begin, eta), until)
    if due > begin:
        yield Span(DELAY, begin, due)
    if until > due:
        yield Span(WAIT, due, until)


def _run(attempt: Attempt, following: Attempt | None, end: datetime) -> Iterator[Span]:
    kind = RUN
    if attempt.outcome == RETRY or (attempt.outcome == LOST and following is not None):
        kind = RETRIED
    elif attempt.outcome in _FAILURES:
        kind = FAILED
    elif attempt.outcome is None and following is None:
        kind = RUNNING
    if attempt.started_at is not None:
        yield Span(kind, min(attempt.started_at, end), end)
    elif attempt.outcome is not None and attempt.scheduled_at is not None:
        begin = min(attempt.scheduled_at, end)
        yield Span(UNKNOWN if kind == RUN else kind, begin, end)
