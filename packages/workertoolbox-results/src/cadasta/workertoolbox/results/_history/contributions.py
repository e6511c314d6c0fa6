"""What a row of the history adds to the rollups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from celery import states
from sqlalchemy import ColumnElement, Float, and_, case, func, type_coerce

from cadasta.workertoolbox.results._database.statuses import LOST
from cadasta.workertoolbox.results._database.tables import history
from cadasta.workertoolbox.results._history.attempt_records import (
    DUPLICATE,
    read_instant,
)
from cadasta.workertoolbox.results._history.tally import Contribution

#: Outcomes of runs that count as redeliveries.
_REDELIVERED = (LOST, DUPLICATE)

#: Statuses of tasks that a worker has run to their end.
_RUN = (states.SUCCESS, states.FAILURE)


def contribution_columns(dialect: str) -> Sequence[ColumnElement[Any]]:
    """Return the columns of the history from which contributions are made.

    The database computes durations, because Python takes longer to read two instants.
    """
    row = history.c
    due_at = case((row.eta > row.scheduled_at, row.eta), else_=row.scheduled_at)
    # A worker measures the wait if the message says when it was sent.
    is_first = and_(row.waited_s.is_(None), func.coalesce(row.retries, 0) == 0)
    first_wait_s = case((is_first, _seconds(dialect, due_at, row.started_at)))
    # The end of a lost task is not known.
    ended_at = case((row.status != LOST, row.finished_at))
    run_at = case((row.status.in_(_RUN), row.finished_at))
    return (
        *(row.id, row.name, row.queue, row.status, row.finished_at, row.retries),
        func.coalesce(row.waited_s, first_wait_s, type_=Float),
        _seconds(dialect, row.started_at, ended_at),
        _seconds(dialect, row.scheduled_at, run_at),
        *(row.error_group, row.attempts),
    )


def contributions_of(rows: Iterable[Sequence[Any]]) -> Iterator[Contribution]:
    """Yield what ended tasks, and their retried attempts, add to the rollups.

    Args:
        rows: Rows of the history with `contribution_columns`. The result depends on
            nothing else.
    """
    for row in rows:
        name, queue, status, finished_at, retries, *durations, group, attempts = row[1:]
        wait_s, run_s, took_s = durations
        yield Contribution(
            name or "",
            queue or "",
            status,
            finished_at,
            retries or 0,
            sum(each["outcome"] in _REDELIVERED for each in attempts or ()),
            wait_s and max(0.0, wait_s),
            run_s and max(0.0, run_s),
            took_s and max(0.0, took_s),
            group or "",
        )
        for each in attempts or ():
            retried_at = read_instant(each["finished_at"])
            if each["outcome"] == states.RETRY and retried_at is not None:
                yield Contribution(
                    name=name or "",
                    queue=each["queue"] or "",
                    status=states.RETRY,
                    finished_at=retried_at,
                    retries=1,
                    error_group=each.get("error_group") or "",
                )


def _seconds(
    dialect: str, start: ColumnElement[Any], end: ColumnElement[Any]
) -> ColumnElement[Any]:
    if dialect == "postgresql":
        return type_coerce(func.extract("epoch", end - start), Float)
    return (func.julianday(end) - func.julianday(start)) * 86400
