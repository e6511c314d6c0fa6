"""Tasks of the last day in a database, as monitors and workers store them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

#: One task in so many is new. Every second new task is queued.
NEW_EVERY = 250

#: Seconds from the first task to the last.
SPAN_S = 24 * 3600

#: The tasks are numbered up to `:count`, the latest. Every tenth task starts a workflow
#: of four. There are fifty names, the first of which are the most frequent, and a rare
#: name that has a hundred tasks.
TASKS = """
INSERT INTO workertoolbox_task (
    id, name, queue, args, kwargs, root_id, parent_id, replaced, retries,
    scheduled_at, eta, origin, ignore_result, seen_at
)
SELECT
    md5(n::text)::uuid, name, queue, '[1, "some/folder"]', '{{"size": 1}}',
    md5((CASE WHEN n % 10 < 4 THEN n - n % 10 ELSE n END)::text)::uuid,
    CASE WHEN n % 10 BETWEEN 1 AND 3 THEN md5((n - n % 10)::text)::uuid END,
    0, 0, at, CASE WHEN is_new AND n % 100 = 0 THEN now() + interval '1 hour' END,
    'me@host', false, at + interval '0.1 s'
FROM ({numbers}) numbers
"""

#: Most tasks have a result. Some are lost before they start, and some after it.
RESULTS = """
INSERT INTO celery_taskmeta (
    task_id, status, result, date_done, name, args, kwargs, worker, retries, queue,
    started_at, root_id, parent_id
)
SELECT
    md5(n::text)::uuid,
    CASE
        WHEN is_new AND n % 50 = 1 OR n % 20000 = 13 THEN 'STARTED'
        WHEN n % 50 = 3 THEN 'FAILURE'
        WHEN n % 1000 = 7 THEN 'REVOKED'
        WHEN n % 5000 = 11 THEN 'RETRY'
        ELSE 'SUCCESS'
    END,
    '{{"rows": 12, "path": "some/folder"}}', (at + interval '5 s') AT TIME ZONE 'UTC',
    name, '[1, "some/folder"]', '{{"size": 1}}', 'worker' || n % 200 || '@host', 0,
    queue, at + interval '1 s',
    md5((CASE WHEN n % 10 < 4 THEN n - n % 10 ELSE n END)::text)::uuid,
    CASE WHEN n % 10 BETWEEN 1 AND 3 THEN md5((n - n % 10)::text)::uuid END
FROM ({numbers}) numbers
WHERE NOT (is_new AND n % 2 = 0) AND n % 10007 <> 1
"""

#: One result in a thousand belongs to a task whose message no monitor has seen.
UNTRACKED = """
INSERT INTO celery_taskmeta (
    task_id, status, result, date_done, name, worker, queue, started_at, root_id
)
SELECT
    md5('untracked' || n)::uuid, 'SUCCESS', '42',
    (at + interval '5 s') AT TIME ZONE 'UTC', name, 'worker' || n % 200 || '@host',
    queue, at, md5('untracked' || n)::uuid
FROM ({numbers}) numbers
WHERE n % 1000 = 500
"""

#: One task in a thousand announced a step that never ran.
PLANNED = """
INSERT INTO workertoolbox_planned (id, name, root_id, parent_id, seen_at)
SELECT md5('step' || n)::uuid, name, md5(n::text)::uuid, md5(n::text)::uuid, at
FROM ({numbers}) numbers
WHERE n % 1000 = 8
"""

NUMBERS = """
SELECT
    n, now() - (:count - n) * interval '{step_s} s' AS at,
    n > :count - :count / {new_every} AS is_new,
    CASE WHEN n % (:count / 100) = 5 THEN 'export.rare' ELSE 'export.' || kind END
        AS name,
    'queue' || kind % 8 AS queue
FROM (
    SELECT n, floor(50 * power((hashint4(n) & 65535) / 65536.0, 3))::integer AS kind
    FROM generate_series(1, :count) n
) kinds
"""

#: Filters of `TaskStore.list`, by a description of the list.
LISTINGS: dict[str, dict[str, Any]] = {
    "all": {},
    "of a name": {"name": "export.3"},
    "of a rare name": {"name": "export.rare"},
    "of a name that nothing has": {"name": "nothing"},
    "of a queue": {"queue": "queue3"},
    "of a queue that nothing has": {"queue": "nothing"},
    "of a worker": {"worker": "worker7@host"},
    "of a name and a worker": {"name": "export.3", "worker": "worker7@host"},
    **{
        status: {"status": status}
        for status in (
            "SUCCESS",
            "FAILURE",
            "STARTED",
            "QUEUED",
            "SCHEDULED",
            "PLANNED",
            "PROGRESS",
        )
    },
    "failures of a name": {"status": "FAILURE", "name": "export.3"},
    "queued of a rare name": {"status": "QUEUED", "name": "export.rare"},
}


def insert_sample_tasks(connection: Connection, count: int) -> None:
    """Insert tasks and their results."""
    numbers = NUMBERS.format(step_s=SPAN_S / count, new_every=NEW_EVERY)
    for statement in (TASKS, RESULTS, UNTRACKED, PLANNED):
        connection.execute(text(statement.format(numbers=numbers)), {"count": count})
