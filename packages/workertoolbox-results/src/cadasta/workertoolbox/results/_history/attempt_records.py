"""Records of ended attempts: JSON arrays in results and in the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from celery import states

from cadasta.workertoolbox.results._arguments.jsonable import jsonable_text

#: Maximum number of attempts of a task; the oldest ones are dropped.
MAX_ATTEMPTS = 100

#: Number of bytes that are kept of an attempt's error, and of characters at the end of
#: its traceback.
MAX_ERROR_BYTES = 4096
MAX_TRACEBACK = 8192

#: Outcome of a run that ended after the task had succeeded. A run without an end when
#: another one began or ended has the outcome `LOST`.
DUPLICATE = "DUPLICATE"

#: Outcome of a run without an end whose task was published again meanwhile, and not as
#: a retry: `Task.replace` does that. The task goes on under its id.
REPLACED = "REPLACED"


def ended_attempts(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return all attempts of a row of the history, oldest first."""
    last = attempt_record(row, finished_at=row["finished_at"], outcome=row["status"])
    return [*(row["attempts"] or ()), last]


def attempt_record(
    row: Mapping[str, Any], *, finished_at: datetime | None, outcome: str
) -> Mapping[str, Any]:
    """Return the record of a run.

    Args:
        row: The columns of its end, as in `celery_taskmeta` or in the history.
    """
    failed = row["status"] in states.EXCEPTION_STATES
    error = bytes(row["result"] or b"")[:MAX_ERROR_BYTES] if failed else None
    traceback = row.get("traceback")
    names = ("retries", "queue", "worker", "error_group")
    return {
        **{name: row.get(name) for name in names},
        "published_at": _iso(row.get("published_at")),
        "started_at": _iso(row.get("started_at")),
        "finished_at": _iso(finished_at),
        "outcome": outcome,
        # A pickle contains NUL, which PostgreSQL refuses.
        "error": jsonable_text(error.decode("ascii", "backslashreplace"))
        if error
        else None,
        "traceback": traceback and traceback[-MAX_TRACEBACK:],
    }


def merge_attempts(
    earlier: Sequence[Mapping[str, Any]],
    later: Sequence[Mapping[str, Any]],
    *,
    last_run_at: datetime | None,
) -> list[Mapping[str, Any]] | None:
    """Return the attempts before the last one, or None if `later` has them all.

    Args:
        earlier: The attempts in the history.
        later: The attempts in the result.
        last_run_at: When the run of the result began, or, if that is not known, when
            it ended.
    """
    known = {_run(each) for each in later} | {last_run_at}
    missing = [each for each in earlier if _run(each) not in known]
    return [*missing, *later][-MAX_ATTEMPTS:] if missing else None


def _run(record: Mapping[str, Any]) -> datetime | None:
    return read_instant(record["started_at"] or record["finished_at"])


def read_instant(text: str | None) -> datetime | None:
    """Return an instant in a record; those without a time zone are in UTC."""
    if text is None:
        return None
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
