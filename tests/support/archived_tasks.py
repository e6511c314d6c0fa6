"""Tasks in the history of PostgreSQL, in tables of several classes and days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from support.statements import fetch

ADD_DAY = "SELECT workertoolbox_add_day(:keep, :day)"

#: Tasks that ended on a day, a second after each other. Tasks of a class other than
#: `default` failed.
ROWS = """
INSERT INTO workertoolbox_history (id, keep, day, name, status, root_id, scheduled_at,
    finished_at, listed_at, tracked, forgotten)
SELECT CAST(:prefix AS text) || n, :keep, CAST(:day AS date), 'export.echo',
    CASE WHEN :keep = 'default' THEN 'SUCCESS' ELSE 'FAILURE' END,
    CAST(:prefix AS text) || 1, ended_at, ended_at, ended_at, true, false
FROM generate_series(1, :count) n,
    LATERAL (SELECT CAST(:day AS timestamp) AT TIME ZONE 'UTC' + n * interval '1 s') e
        (ended_at)
"""

#: Their results, which are still stored.
RESULTS = """
INSERT INTO celery_taskmeta (task_id, status, result, date_done, name, archived_at)
SELECT id, status, '42', finished_at AT TIME ZONE 'UTC', name, now()
FROM workertoolbox_history WHERE id LIKE CAST(:prefix AS text) || '%'
"""


def days_ago(number: int) -> date:
    """Return the date in UTC that many days ago."""
    return datetime.now(UTC).date() - timedelta(days=number)


def insert_archived_tasks(
    database: str,
    prefix: str,
    count: int,
    *,
    age_days: int,
    keep: str = "default",
    results: bool = False,
) -> None:
    """Insert tasks with the ids `{prefix}1`, `{prefix}2` and so on.

    Args:
        age_days: How many days ago they ended, from midnight (UTC) on.
        keep: Their retention class.
        results: Whether their results are stored too.
    """
    key = {"keep": keep, "day": days_ago(age_days)}
    fetch(database, ADD_DAY, **key)
    fetch(database, ROWS, prefix=prefix, count=count, **key)
    if results:
        fetch(database, RESULTS, prefix=prefix)


def archived_ids(database: str) -> set[str]:
    """Return the ids of the tasks in the history."""
    return {id for [id] in fetch(database, "SELECT id FROM workertoolbox_history")}
