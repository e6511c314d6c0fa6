"""The runs of an entry, and how many were missed or doubled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Self

from cadasta.workertoolbox.results._schedules.occurrences import count_moments

#: Number of runs of an entry that are kept. Messages are out of order by fewer.
MAX_KEPT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run of an entry that beat has sent.

    Attributes:
        task_id: Id of the task.
        sent_at: When beat published it.
        due_at: When it was due; None if the schedule does not say that.
        next_at: When the next run is due.
        beat: The process of beat: when it started, and its name.
        schedule: The schedule as text.
        timezone: The time zone of a crontab.
        missed: How many runs before it were due and not sent.
        doubled: Whether another process of beat has sent this run, too.
    """

    task_id: str
    sent_at: datetime
    due_at: datetime | None
    next_at: datetime | None
    beat: str
    schedule: str
    timezone: str | None
    missed: int = 0
    doubled: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the run as JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return a run from JSON."""
        instants = {
            name: values[name] and datetime.fromisoformat(values[name])
            for name in ("sent_at", "due_at", "next_at")
        }
        return cls(**{**values, **instants})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLog:
    """The latest runs of an entry, and the numbers of all its runs.

    Adding a run twice changes nothing, and neither does the order of additions.

    Attributes:
        runs: The latest runs, in the order in which they were sent.
        dropped: Number of runs before those.
        missed: Number of missed runs before the dropped ones.
        doubled: Number of dropped runs that were doubled.
        missed_at: When the last dropped run that followed missed runs was sent.
        doubled_at: When the last dropped run that was doubled was sent.
    """

    runs: tuple[Run, ...] = ()
    dropped: int = 0
    missed: int = 0
    doubled: int = 0
    missed_at: datetime | None = None
    doubled_at: datetime | None = None

    @property
    def count(self) -> int:
        """Number of all runs."""
        return self.dropped + len(self.runs)

    @property
    def all_missed(self) -> int:
        """Number of all missed runs."""
        return self.missed + sum(run.missed for run in self.runs)

    @property
    def all_doubled(self) -> int:
        """Number of all doubled runs."""
        return self.doubled + sum(run.doubled for run in self.runs)

    @property
    def last_missed_at(self) -> datetime | None:
        """When the last run was sent before which others were missed."""
        return _last_at(self.missed_at, (run for run in self.runs if run.missed))

    @property
    def last_doubled_at(self) -> datetime | None:
        """When the last run was sent that was doubled."""
        return _last_at(self.doubled_at, (run for run in self.runs if run.doubled))

    def add(self, runs: Iterable[Run]) -> RunLog:
        """Return the log with more runs. Runs before the dropped ones are left out."""
        known = {run.task_id: run for run in self.runs}
        new = {run.task_id: run for run in runs if run.task_id not in known}
        if self.dropped:
            first = self.runs[0].sent_at
            new = {id: run for id, run in new.items() if run.sent_at > first}
        if not new:
            return self
        before = dict(zip(list(known)[1:], known, strict=False))
        ordered = sorted(
            {**known, **new}.values(), key=lambda run: (run.sent_at, run.task_id)
        )
        counted = ordered[:1]
        if not self.dropped:
            counted[0] = replace(counted[0], missed=0)
        for previous, run in zip(ordered, ordered[1:], strict=False):
            if before.get(run.task_id) != previous.task_id:
                run = replace(run, missed=_count_missed(previous, run))
            counted.append(run)
        marked = [
            replace(run, doubled=True) if _is_doubled(counted, place) else run
            for place, run in enumerate(counted)
        ]
        return self._limited(marked)

    def _limited(self, runs: Sequence[Run]) -> RunLog:
        end = max(0, len(runs) - MAX_KEPT)
        dropped = runs[:end]
        return RunLog(
            runs=tuple(runs[end:]),
            dropped=self.dropped + end,
            missed=self.missed + sum(run.missed for run in dropped),
            doubled=self.doubled + sum(run.doubled for run in dropped),
            missed_at=_last_at(self.missed_at, (run for run in dropped if run.missed)),
            doubled_at=_last_at(
                self.doubled_at, (run for run in dropped if run.doubled)
            ),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the log as JSON."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        times = {name: getattr(self, name) for name in _TIMES}
        return {
            **numbers,
            **{name: at and at.isoformat() for name, at in times.items()},
            "runs": [run.as_json() for run in self.runs],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> Self:
        """Return a log from JSON, or an empty one."""
        if not values:
            return cls()
        runs = tuple(Run.from_json(each) for each in values["runs"])
        times: dict[str, Any] = {
            name: values[name] and datetime.fromisoformat(values[name])
            for name in _TIMES
        }
        numbers = {name: values[name] for name in _NUMBERS}
        return cls(runs=runs, **numbers, **times)


_NUMBERS = ("dropped", "missed", "doubled")
_TIMES = ("missed_at", "doubled_at")


def _last_at(known: datetime | None, runs: Iterable[Run]) -> datetime | None:
    return max(filter(None, (known, *(run.sent_at for run in runs))), default=None)


def _count_missed(previous: Run, run: Run) -> int:
    """Count the runs that were due between two runs that were sent.

    One of the runs that were due by then is the second run, which may be late.
    """
    if previous.next_at is None or previous.schedule != run.schedule:
        return 0
    return count_moments(
        previous.schedule,
        previous.timezone,
        previous.next_at,
        run.sent_at,
        period=previous.next_at - previous.sent_at,
    )


def _is_doubled(runs: Sequence[Run], place: int) -> bool:
    """Return whether a run was sent in addition to those of another process.

    Two processes send a run of a crontab at the same time, and those of an interval
    between each other's. Then those of the process that started later are doubled.
    """
    run = runs[place]
    if run.doubled:
        return True
    if run.due_at is not None:
        if any(other.due_at == run.due_at for other in runs[:place]):
            return True
    for beat in {other.beat for other in runs[:place] if other.beat < run.beat}:
        before = next(each for each in runs[place - 1 :: -1] if each.beat == beat)
        after = next((each for each in runs[place + 1 :] if each.beat == beat), None)
        if after is not None and _follows(before, after):
            return True
    return False


def _follows(before: Run, after: Run) -> bool:
    """Return whether a run was sent when it was due after another one."""
    if before.next_at is None:
        return False
    half: timedelta = (before.next_at - before.sent_at) / 2
    return after.sent_at <= before.next_at + half
