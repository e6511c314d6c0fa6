"""What the overview asks the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from typing import Self

from starlette.datastructures import QueryParams

from cadasta.workertoolbox.results._store.errors.groups import ErrorGroup
from cadasta.workertoolbox.results._store.figures.completeness import Completeness
from cadasta.workertoolbox.results._store.figures.queues import QueueBacklog
from cadasta.workertoolbox.results._store.figures.releases import Release
from cadasta.workertoolbox.results._store.figures.rollups import TaskFigures
from cadasta.workertoolbox.results._store.figures.stats import StatsTable
from cadasta.workertoolbox.results._store.schedules.entries import Schedule
from cadasta.workertoolbox.results._store.search.unusual import UnusualTask
from cadasta.workertoolbox.results._store.store import TaskStore
from cadasta.workertoolbox.results.web.window import WINDOWS, Window, read_window

#: Maximum number of names that are compared, those with most tasks.
MAX_NAMES = 500

#: Maximum number of tasks that are counted as stuck.
MAX_STUCK = 100

#: Maximum number of groups of errors that are new, and of those that are back.
MAX_GROUPS = 5

#: Maximum number of steps of a series, and the lengths that a step may have. A day by
#: the half hour is added up from minutes, and takes ten times as long as by the hour;
#: so do some weeks by the half day, which are added up from hours.
MAX_STEPS = 62
STEPS = (
    *(timedelta(minutes=each) for each in (1, 2, 5, 10)),
    *(timedelta(hours=each) for each in (1, 3, 6)),
    *(timedelta(days=each) for each in (1, 2, 7, 14, 28, 91, 182, 364)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What waits, runs and fails now.

    Attributes:
        backlog: What waits and runs in each queue, most tasks first.
        error_groups: Number of groups of errors in each state.
        new_errors: The latest groups of errors that are new.
        errors_back: The latest groups of errors that are back.
        overdue: Entries of beat's schedule that are overdue.
        stuck: Tasks that wait or run for unusually long, the longest first.
        quarantined: Number of messages in quarantine.
        completeness: Up to which time the database knows what happened.
    """

    backlog: Sequence[QueueBacklog]
    error_groups: Mapping[str, int]
    new_errors: Sequence[ErrorGroup]
    errors_back: Sequence[ErrorGroup]
    overdue: Sequence[Schedule]
    stuck: Sequence[UnusualTask]
    quarantined: int
    completeness: Completeness


@dataclass(frozen=True, slots=True)
class PresentQuestion:
    """What is the state of the fleet?"""

    def answer(self, store: TaskStore) -> Present:
        """Ask the database."""
        return Present(
            backlog=store.backlog(),
            error_groups=store.count_error_groups(),
            new_errors=store.error_groups(state="new", limit=MAX_GROUPS),
            errors_back=store.error_groups(state="back", limit=MAX_GROUPS),
            overdue=store.overdue_schedules(),
            stuck=store.stuck_by_p99(limit=MAX_STUCK),
            quarantined=store.count_quarantined(),
            completeness=store.completeness(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The tasks that ended in a window.

    Attributes:
        table: Statistics by name, with the window before.
        figures: Figures of each step of the window.
        step: The length of a step.
        releases: The versions of services that appeared in the window.
    """

    table: StatsTable
    figures: TaskFigures
    step: timedelta
    releases: Sequence[Release]


@dataclass(frozen=True, slots=True)
class EndedQuestion:
    """Which tasks ended in a window?

    Attributes:
        since: The start of the window, as in the URL of the page; never empty.
        until: Its end, likewise; empty for the present.
        zone: The time zone of times without an offset.
    """

    since: str
    until: str
    zone: tzinfo

    @classmethod
    def of(cls, window: Window, zone: tzinfo) -> Self:
        """Return the question about a window; viewers of any zone ask the same one."""
        is_same = window.is_fixed
        return cls(window.since_text, window.until_text, UTC if is_same else zone)

    def answer(self, store: TaskStore) -> Ended:
        """Ask the database."""
        params = QueryParams({"since": self.since, "until": self.until})
        window = read_window(params, default="", zone=self.zone)
        assert window.since is not None
        table = store.stats(
            since=window.since,
            until=window.until,
            by="name",
            limit=MAX_NAMES,
            gone=True,
            coarse=True,
        )
        step = choose_step(table.until - table.since)
        figures = store.figures(
            since=table.since, until=table.until, step=step, internal=False
        )
        releases = store.releases(since=figures.since, until=figures.until)
        return Ended(table=table, figures=figures, step=step, releases=releases)


def usual_questions() -> Sequence[PresentQuestion | EndedQuestion]:
    """Return what the overview asks with the windows that it offers."""
    return [PresentQuestion(), *(EndedQuestion(each, "", UTC) for each in WINDOWS)]


def choose_step(length: timedelta) -> timedelta:
    """Return the shortest step with which a window has at most `MAX_STEPS`."""
    return next((step for step in STEPS if length <= step * MAX_STEPS), STEPS[-1])
