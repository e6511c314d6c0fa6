"""Checks that count untracked results and quarantined messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._database import driver_reason, why_unreadable
from cadasta.workertoolbox.conf.checkup._finding import (
    Finding,
    failed,
    ok,
    skipped,
    warning,
)
from cadasta.workertoolbox.results import DatabaseUnavailable, TaskStore


def untracked(context: CheckContext) -> Iterator[Finding]:
    """Count the results of the last hour whose task no monitor has seen."""
    store = TaskStore.from_engine(context.database)
    yield _counted(
        "untracked",
        lambda: store.count_recent().untracked,
        what="results of the last hour without a task",
        advice="find the services that publish or run tasks without the toolbox, or "
        "the reason in the log of the publisher for which a copy was not sent",
    )


def quarantine(context: CheckContext) -> Iterator[Finding]:
    """Count the messages that monitors could not read."""
    yield _counted(
        "quarantine",
        TaskStore.from_engine(context.database).count_quarantined,
        what="messages in quarantine",
        advice="run `celery -A … tasks quarantine list`, which shows the reasons",
    )


def _counted(
    check: str, count: Callable[[], int], *, what: str, advice: str
) -> Finding:
    try:
        number = count()
    except DatabaseUnavailable as error:
        if reason := why_unreadable(error):
            return skipped(check, reason)
        detail = f"cannot be counted: {driver_reason(error)}"
        return failed(check, detail, "look at the log of the database server")
    detail = f"{number} {what}"
    return warning(check, detail, advice) if number else ok(check, detail)
