"""What the database does not know of, or could not read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cadasta.workertoolbox.conf.checkup._context import CheckContext
from cadasta.workertoolbox.conf.checkup._database import unseen
from cadasta.workertoolbox.conf.checkup._finding import (
    Finding,
    failed,
    ok,
    skipped,
    warning,
)
from cadasta.workertoolbox.results import count_recent

_COUNT = text("SELECT count(*) FROM workertoolbox_quarantine")


def untracked(context: CheckContext) -> Iterator[Finding]:
    """Count the results of the last hour whose task no monitor has seen."""
    yield _counted(
        "untracked",
        lambda: count_recent(context.database).untracked,
        what="results of the last hour without a task",
        advice="find who runs or publishes tasks without the toolbox, or why copies "
        "could not be sent",
    )


def quarantine(context: CheckContext) -> Iterator[Finding]:
    """Count the messages that no monitor could read."""

    def count() -> int:
        with context.database.connect() as connection:
            return int(connection.execute(_COUNT).scalar_one())

    yield _counted(
        "quarantine",
        count,
        what="messages in quarantine",
        advice="look at `celery -A … tasks quarantine list`",
    )


def _counted(
    check: str, count: Callable[[], int], *, what: str, advice: str
) -> Finding:
    try:
        number = count()
    except DBAPIError as error:
        if reason := unseen(error):
            return skipped(check, reason)
        detail = f"cannot be counted: {' '.join(str(error.orig).split())}"
        return failed(check, detail, "look at the log of the database")
    detail = f"{number} {what}"
    return warning(check, detail, advice) if number else ok(check, detail)
