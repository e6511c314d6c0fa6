"""What a row of the history adds to the rollups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from celery import states

from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history.tally import Contribution

#: The columns of the history from which contributions are made.
COLUMNS = tuple(
    history.c[name]
    for name in (
        *("name", "queue", "status", "finished_at", "retries", "attempts"),
        *("waited_s", "scheduled_at", "eta", "started_at", "error_group"),
    )
)

#: Outcomes of runs that count as redeliveries.
_REDELIVERED = ("LOST", "DUPLICATE")


def contributions_of(rows: Iterable[Mapping[str, Any]]) -> Iterator[Contribution]:
    """Yield what ended tasks, and their retried attempts, add to the rollups.

    Args:
        rows: Rows of the history with `COLUMNS`. The same row always yields the same.
    """
    for row in rows:
        name = row["name"] or ""
        attempts = row["attempts"] or ()
        yield Contribution(
            name=name,
            queue=row["queue"] or "",
            status=row["status"],
            finished_at=row["finished_at"],
            retries=row["retries"] or 0,
            redeliveries=sum(each["outcome"] in _REDELIVERED for each in attempts),
            waited_s=_waited_s(row),
            ran_s=_seconds(row["started_at"], row["finished_at"]),
            error_group=row["error_group"] or "",
        )
        for each in attempts:
            if each["outcome"] == states.RETRY and each["finished_at"] is not None:
                yield Contribution(
                    name=name,
                    queue=each["queue"] or "",
                    status=states.RETRY,
                    finished_at=_read_instant(each["finished_at"]),
                    retries=1,
                    error_group=each.get("error_group") or "",
                )


def _waited_s(row: Mapping[str, Any]) -> float | None:
    """Return the wait that the worker measured, or else that of the first attempt."""
    if row["waited_s"] is not None or row["retries"]:
        waited_s: float | None = row["waited_s"]
        return waited_s
    due_at = max(filter(None, (row["scheduled_at"], row["eta"])), default=None)
    return _seconds(due_at, row["started_at"])


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None:
        return None
    return max(0.0, (end - start).total_seconds())


def _read_instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
