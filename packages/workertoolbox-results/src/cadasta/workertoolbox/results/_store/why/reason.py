"""Why a task has not run, has not finished, or how it ended: `Reason`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from enum import StrEnum
from typing import Any, ClassVar

from cadasta.workertoolbox.results._duration_text import duration_text
from cadasta.workertoolbox.results._json_record import JsonRecord
from cadasta.workertoolbox.results._number_text import counted

#: Maximum number of characters of an error in a sentence.
MAX_ERROR = 200


class Cause(StrEnum):
    """Why a task has not run, has not finished, or how it ended.

    `docs/reference/why.md` explains each cause.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIME_LIMIT = "time_limit"
    WORKER_LOST = "worker_lost"
    NOT_REGISTERED = "not_registered"
    INVALID_MESSAGE = "invalid_message"
    NOT_RUN = "not_run"
    EXPIRED = "expired"
    REVOKED = "revoked"
    TERMINATED = "terminated"
    PURGED = "purged"
    REFUSED = "refused"
    REJECTED = "rejected"
    IGNORED = "ignored"
    LOST = "lost"
    RUNNING = "running"
    RUNNING_LONG = "running_long"
    WORKER_SILENT = "worker_silent"
    REDELIVERED = "redelivered"
    RETRY = "retry"
    RETRY_UNSEEN = "retry_unseen"
    ETA = "eta"
    WAITING = "waiting"
    WAITING_LONG = "waiting_long"
    BUSY = "busy"
    OVERTAKEN = "overtaken"
    RESULTS_ELSEWHERE = "results_elsewhere"
    NO_CONSUMER = "no_consumer"
    STEP = "step"
    CHORD = "chord"
    CHORD_UNCOUNTED = "chord_uncounted"
    STEP_UNSEEN = "step_unseen"
    STEP_UNKNOWN = "step_unknown"
    QUARANTINED = "quarantined"
    MONITOR_BEHIND = "monitor_behind"
    NO_MONITOR = "no_monitor"
    UNKNOWN = "unknown"


#: Causes for which nothing has to be done. Those that depend on another task are
#: trouble if that task is in trouble.
NORMAL = frozenset(
    {
        *(Cause.SUCCEEDED, Cause.IGNORED, Cause.RUNNING, Cause.RETRY, Cause.ETA),
        *(Cause.WAITING, Cause.BUSY, Cause.STEP, Cause.CHORD),
        Cause.RESULTS_ELSEWHERE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason(JsonRecord):
    """Why a task has not run, has not finished, or how it ended.

    Example:
        Find what holds up a workflow::

            reason = store.why(id)
            while reason.because is not None:
                reason = reason.because
            print(reason.id, reason.cause, reason.sentence)

    Attributes:
        id: The id that was asked for, or that of the task which is the reason.
        name: Name of the task, if it is known.
        status: Its status; None if no monitor and no worker has seen the task.
        cause: A word for programs.
        sentence: A sentence for people. Times in it are in the time zone that was asked
            for, each with the time since then or until then.
        evidence: The values behind the sentence, ready for JSON: instants in ISO 8601,
            durations in seconds, with keys that end in `_at` and `_s`.
        because: Why the task is in its state that this one waits for, or that kept it
            from running.
    """

    json_added: ClassVar = {"trouble": "is_trouble"}
    json_first: ClassVar = ("id", "name", "status", "cause", "trouble")

    id: str
    name: str | None
    status: str | None
    cause: Cause
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    because: Reason | None = None

    @property
    def is_trouble(self) -> bool:
        """Whether the task failed, is stuck, or waits for one that is."""
        if self.cause not in NORMAL:
            return True
        return self.because is not None and self.because.is_trouble


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason whose sentence is still without its subject.

    Attributes:
        predicate: The sentence without the task, so that it can follow "which".
        evidence: Values as they are: instants are not texts yet; None is left out.
    """

    cause: Cause
    predicate: str
    evidence: Mapping[str, Any]
    because: Explained | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """A task with the finding about it."""

    id: str
    name: str | None
    status: str | None
    finding: Finding

    @property
    def label(self) -> str:
        """The task in a sentence, such as `export.fetch[7a61…]`."""
        return f"{self.name or 'task'}[{self.id}]"

    def as_reason(self) -> Reason:
        """Return the reason with its whole sentence."""
        found = self.finding
        return Reason(
            id=self.id,
            name=self.name,
            status=self.status,
            cause=found.cause,
            sentence=f"{self.label} {found.predicate}.",
            evidence={
                name: value.isoformat() if isinstance(value, datetime) else value
                for name, value in found.evidence.items()
                if value is not None
            },
            because=None if found.because is None else found.because.as_reason(),
        )


@dataclass(frozen=True, slots=True)
class Clock:
    """The instant of a question, and the time zone of the answer.

    Attributes:
        zone: None for the local time zone.
    """

    now: datetime
    zone: tzinfo | None

    def shown(self, at: datetime) -> str:
        """Return a time with its distance: `2026-11-28 03:12:07 (26.0 min ago)`."""
        absolute = f"{at.astimezone(self.zone):%Y-%m-%d %H:%M:%S}"
        seconds = self.since_s(at)
        text = duration_text(abs(seconds))
        return f"{absolute} ({f'in {text}' if seconds < 0 else f'{text} ago'})"

    def since_s(self, at: datetime) -> float:
        """Return the seconds since an instant; negative if it is ahead."""
        return (self.now - at).total_seconds()


def first_line(text: str) -> str:
    """Return the first line of an error, cut off after 200 characters."""
    line = (text.strip().splitlines() or [""])[0]
    return line if len(line) <= MAX_ERROR else f"{line[:MAX_ERROR]}…"


def listed(texts: list[str], *, limit: int = 3) -> str:
    """Return texts as `a, b and 4 others`."""
    if len(texts) > limit + 1:
        texts = [*texts[:limit], counted(len(texts) - limit, "other")]
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last
