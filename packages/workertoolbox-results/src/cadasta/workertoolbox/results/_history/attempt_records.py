"""Records of ended attempts: JSON arrays in results and in the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from celery import states

#: Maximum number of attempts of a task; the oldest ones are dropped.
MAX_ATTEMPTS = 100

#: Number of bytes that are kept of an attempt's error, and of characters at the end of
#: its traceback.
MAX_ERROR_BYTES = 4096
MAX_TRACEBACK = 8192


def ended_attempts(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return all attempts of a row of the history, oldest first."""
    failed = row["status"] in states.EXCEPTION_STATES
    error = bytes(row["result"] or b"")[:MAX_ERROR_BYTES] if failed else None
    traceback = row["traceback"]
    last = {
        **{name: row[name] for name in ("retries", "queue", "worker", "error_group")},
        "published_at": _iso(row["published_at"]),
        "started_at": _iso(row["started_at"]),
        "finished_at": _iso(row["finished_at"]),
        "outcome": row["status"],
        "error": error and error.decode("ascii", "backslashreplace"),
        "traceback": traceback and traceback[-MAX_TRACEBACK:],
    }
    return [*(row["attempts"] or ()), last]


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
    text = record["started_at"] or record["finished_at"]
    if text is None:
        return None
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
