"""Count untracked results and messages in quarantine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

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

#: Number of results up to which they are counted: more do not change the advice.
MAX_COUNTED = 1000


def untracked(context: CheckContext) -> Iterator[Finding]:
    """Count the results of the last hour whose task no monitor has seen."""
    store = TaskStore.from_engine(context.database)
    since = datetime.now(UTC) - timedelta(hours=1)
    yield _count(
        "untracked",
        "results of the last hour without a task",
        lambda: len(store.untracked(since=since, limit=MAX_COUNTED)),
        advice="find services that publish or run tasks without the toolbox, and "
        "errors about copies in the logs of publishers",
    )


def quarantine(context: CheckContext) -> Iterator[Finding]:
    """Count the messages that no monitor could read."""
    yield _count(
        "quarantine",
        "messages in quarantine",
        TaskStore.from_engine(context.database).count_quarantined,
        advice="see the reasons with `celery -A … tasks quarantine list`",
    )


def _count(check: str, what: str, count: Callable[[], int], *, advice: str) -> Finding:
    try:
        number = count()
    except DatabaseUnavailable as error:
        if reason := why_unreadable(error):
            return skipped(check, reason)
        detail = f"{what} cannot be counted: {driver_reason(error)}"
        return failed(check, detail, "look at the log of the database server")
    more = " or more" if number >= MAX_COUNTED else ""
    detail = f"{what}: {number}{more}"
    return warning(check, detail, advice) if number else ok(check, detail)
