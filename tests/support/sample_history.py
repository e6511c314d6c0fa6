"""Tasks of the last 90 days in a database, as the archiver leaves them."""

from __future__ import annotations

from sqlalchemy import Connection, text

#: Days with tasks, and days ahead for which the archiver creates tables.
DAYS, DAYS_AHEAD = 90, 7

ADD_DAYS = f"""
SELECT workertoolbox_add_day('default', (now() AT TIME ZONE 'UTC')::date - n)
FROM generate_series(-{DAYS_AHEAD}, {DAYS}) n
"""

#: The tasks are numbered up to `:count`, the latest. Every tenth task starts a workflow
#: of four. There are fifty names, the first ones are the most frequent, and a rare
#: name that has a hundred tasks. Two in a hundred tasks fail, in fifty ways.
ENDED = """
INSERT INTO workertoolbox_history (
    id, keep, day, name, status, queue, args, kwargs, root_id, parent_id, retries,
    scheduled_at, started_at, finished_at, listed_at, worker, result, tracked, waited_s,
    error_group, forgotten, published_at, replaced, origin, ignore_result, seen_at
)
SELECT
    md5(n::text)::uuid, 'default', (at AT TIME ZONE 'UTC')::date,
    CASE WHEN n % greatest(:count / 100, 1) = 5 THEN 'export.rare'
        ELSE 'export.' || kind END,
    CASE WHEN failed THEN 'FAILURE' ELSE 'SUCCESS' END, 'queue' || kind % 8,
    '[1, "some/folder"]', '{"size": 1}', md5(root::text)::uuid,
    CASE WHEN root <> n THEN md5(root::text)::uuid END, 0,
    at - interval '5 s', at - interval '4 s', at, at - interval '5 s',
    'worker' || n % 200 || '@host', '{"rows": 12, "path": "some/folder"}', true, 1,
    CASE WHEN failed THEN '1-' || kind END, false, at - interval '5 s', 0, 'me@host',
    false, at - interval '4.9 s'
FROM (
    SELECT
        n, floor(50 * power((hashint4(n) & 65535) / 65536.0, 3))::integer AS kind,
        CASE WHEN n % 10 < 4 THEN n - n % 10 ELSE n END AS root, n % 50 = 3 AS failed,
        now() - interval '1 min' - (:count - n) * :step_s * interval '1 s' AS at
    FROM generate_series(1, :count) n
) numbers
"""

#: A backlog of tasks, half of them with an ETA, and the tasks of the last minute: one
#: in two hundred is running, and the others have ended.
MESSAGES = """
INSERT INTO workertoolbox_task (
    id, name, queue, args, kwargs, root_id, replaced, retries, scheduled_at, eta,
    origin, ignore_result, seen_at, published_at
)
SELECT
    'live' || n, 'export.' || n % 50, 'queue' || n % 8, '[1, "some/folder"]',
    '{"size": 1}', 'live' || n, 0, 0, at,
    CASE WHEN n % 2 = 0 AND n <= :backlog THEN now() + n * interval '1 s' END,
    'me@host', false, at, at
FROM (
    SELECT n, now() - n * (CASE WHEN n <= :backlog THEN interval '1 s'
        ELSE interval '5 ms' END) AS at
    FROM generate_series(1, :backlog + :recent) n
) numbers
"""

RESULTS = """
INSERT INTO celery_taskmeta (
    id, task_id, status, result, date_done, name, args, kwargs, worker, retries, queue,
    started_at, root_id, published_at
)
SELECT
    nextval('task_id_sequence'), id,
    CASE WHEN n % 200 = 0 THEN 'STARTED' WHEN n % 50 = 3 THEN 'FAILURE'
        ELSE 'SUCCESS' END,
    '{"rows": 12, "path": "some/folder"}',
    (scheduled_at + interval '5 s') AT TIME ZONE 'UTC', name, '[1, "some/folder"]',
    '{"size": 1}', 'worker' || n % 200 || '@host', 0, queue, scheduled_at, root_id,
    published_at
FROM (
    SELECT *, substr(id, 5)::integer AS n FROM workertoolbox_task
) live
WHERE n > :backlog
"""

#: The results of the last day stay until they expire.
UNEXPIRED = """
INSERT INTO celery_taskmeta (
    id, task_id, status, result, date_done, name, worker, retries, queue, archived_at
)
SELECT
    nextval('task_id_sequence'), id, status, result, finished_at AT TIME ZONE 'UTC',
    name, worker, 0, queue, finished_at + interval '1 min'
FROM workertoolbox_history
WHERE day >= (now() AT TIME ZONE 'UTC')::date - 1
AND finished_at > now() - interval '1 day'
"""

PLANNED = """
INSERT INTO workertoolbox_planned (id, name, root_id, parent_id, seen_at)
SELECT 'step' || n, 'export.' || n % 50, 'live' || n, 'live' || n,
    now() - n * interval '1 s'
FROM generate_series(1, :backlog / 10) n
"""


def insert_sample_history(
    connection: Connection, count: int, *, backlog: int = 10_000, recent: int = 12_000
) -> None:
    """Insert tasks that have ended, a backlog, and the tasks of the last minute.

    Args:
        count: Number of tasks in the history.
        backlog: Number of tasks that wait.
        recent: Number of tasks that have a result and are not archived yet.
    """
    connection.execute(text(ADD_DAYS))
    step_s = DAYS * 24 * 3600 / count
    connection.execute(text(ENDED), {"count": count, "step_s": step_s})
    live = {"backlog": backlog, "recent": recent}
    connection.execute(text(MESSAGES), live)
    connection.execute(text(RESULTS), live)
    connection.execute(text(UNEXPIRED))
    connection.execute(text(PLANNED), live)


def archived_id(number: int) -> str:
    """Return the SQL expression for the id of a task in the history."""
    return f"md5('{number}')::uuid::text"
