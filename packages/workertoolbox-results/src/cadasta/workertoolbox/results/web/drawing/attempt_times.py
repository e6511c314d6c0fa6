"""The time line of a task: when its attempts waited and ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._store.tasks.attempts import Attempt
from cadasta.workertoolbox.results._task import Task
from cadasta.workertoolbox.results.web.drawing.time_axis import Tick, TimeAxis
from cadasta.workertoolbox.results.web.wording.formats import tone

#: Maximum number of attempts that are drawn: the latest.
MAX_DRAWN = 25


class Bar(NamedTuple):
    """A part of an attempt; positions are percents of the width.

    Attributes:
        tone: `waited`, or the tone of the outcome of a run.
        title: What it shows, such as `ran for 2.1 s`.
        is_open: Whether its end is not known.
    """

    tone: str
    x: float
    width: float
    title: str
    is_open: bool = False


class Row(NamedTuple):
    """An attempt with its bars; `number` counts from 1."""

    number: int
    outcome: str
    bars: Sequence[Bar]

    @property
    def title(self) -> str:
        """The attempt in words."""
        return ", ".join(bar.title for bar in self.bars)


@dataclass(frozen=True, slots=True)
class TimeLine:
    """When the attempts of a task waited and ran.

    Attributes:
        since: The beginning of the axis.
        rows: The attempts.
        ticks: The marks of the axis, from its beginning on.
        eta_x: Where the ETA of the last attempt is, if it is within the axis.
        left_out: How many earlier attempts are not drawn.
    """

    since: datetime
    rows: Sequence[Row]
    ticks: Sequence[Tick]
    eta_x: float | None
    left_out: int


def time_line(
    task: Task, attempts: Sequence[Attempt], *, is_over: bool, now: datetime
) -> TimeLine | None:
    """Return the time line of a task; None if too little is known for one.

    Args:
        is_over: Whether the task has ended.
    """
    first = max(len(attempts) - MAX_DRAWN, 0)
    drawn = attempts[first:]
    end = (task.finished_at or now) if is_over else now
    instants = [at for each in drawn for at in _instants(each)]
    if not instants:
        return None
    until = max([*instants, end])
    since = min(instants)
    if until <= since:
        return None
    axis = TimeAxis(since, until)
    rows = []
    for number, attempt in enumerate(drawn):
        later = drawn[number + 1 :]
        stop = min((at for each in later for at in _instants(each)), default=until)
        is_open = not later and not is_over
        bars = [*_bars(attempt, axis, stop=stop, is_open=is_open)]
        outcome = attempt.outcome or (task.status if not later else "")
        rows.append(Row(first + number + 1, outcome, bars))
    eta = task.eta if task.eta and axis.since < task.eta <= until else None
    return TimeLine(
        since=axis.since,
        rows=rows,
        ticks=axis.ticks(),
        eta_x=None if eta is None else axis.place(eta),
        left_out=first,
    )


def _instants(attempt: Attempt) -> Iterator[datetime]:
    for at in (attempt.scheduled_at, attempt.started_at, attempt.finished_at):
        if at is not None:
            yield at


def _bars(
    attempt: Attempt, axis: TimeAxis, *, stop: datetime, is_open: bool
) -> Iterator[Bar]:
    """Yield the bars of an attempt.

    Args:
        stop: When it had ended at the latest.
        is_open: Whether it still waits or runs.
    """
    begin, start = attempt.scheduled_at, attempt.started_at
    if begin is not None and (start is not None or is_open):
        until = start or stop
        verb = "waited" if start else "has waited"
        yield _bar("waited", axis, begin, until, f"{verb} {_for(until - begin)}")
    if start is None:
        return
    finish = attempt.finished_at or max(stop, start)
    if attempt.finished_at is not None:
        title = f"ran {_for(finish - start)}"
    else:
        title = f"has run {_for(finish - start)}" if is_open else "its end is unknown"
    is_lost = attempt.finished_at is None and not is_open
    kind = tone(attempt.outcome) if attempt.outcome else "active"
    yield _bar(kind, axis, start, finish, title)._replace(is_open=is_lost)


def _bar(
    kind: str, axis: TimeAxis, since: datetime, until: datetime, title: str
) -> Bar:
    x = axis.place(since)
    return Bar(kind, x, round(max(axis.place(until) - x, 0.0), 3), title)


def _for(length: timedelta) -> str:
    return f"for {duration_text(max(length.total_seconds(), 0.0))}"
