"""Workflows of thousands of tasks in a database, as monitors and archivers leave them.

Beneath the root are parts, and beneath each part are fifty tasks.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from support.sample_history import archived_id

#: Number of tasks in each workflow.
SIZE = 5000

#: The ids of the roots: of a workflow that has ended, and of one that has not.
ENDED, OPEN = "large-ended", "large-open"

#: The tasks of a workflow by number. Number 0 is the root, and every fiftieth a part.
_TREE = """
SELECT n, CASE WHEN n = 0 THEN CAST(:root AS text) ELSE {id} END AS id,
    CASE WHEN n = 0 THEN NULL WHEN n % 50 = 0 THEN :root ELSE {parent} END AS parent_id
FROM generate_series(:first, :last) n
""".format(
    id=archived_id(":root || n").replace("::", "\\:\\:"),
    parent=archived_id(":root || greatest(n - n % 50, 50)").replace("::", "\\:\\:"),
)

_HISTORY = f"""
INSERT INTO workertoolbox_history (
    id, keep, day, name, status, queue, args, kwargs, root_id, parent_id, retries,
    scheduled_at, started_at, finished_at, listed_at, worker, result, tracked, waited_s,
    forgotten, published_at, replaced, origin, ignore_result, seen_at
)
SELECT
    id, 'default', (at AT TIME ZONE 'UTC')::date, 'maps.tile',
    CASE WHEN n % 1700 = 900 THEN 'FAILURE' ELSE 'SUCCESS' END, 'maps',
    '[1, "some/folder"]', '{{"size": 1}}', :root, parent_id, 0,
    at - interval '5 s', at - interval '3 s', at, at - interval '5 s',
    'celery@worker-' || n % 20, '{{"rows": 12, "path": "some/folder"}}', true, 2,
    false, at - interval '5 s', 0, 'me@host', false, at - interval '5 s'
FROM (
    SELECT *, now() - CAST(:age AS interval) + n * interval '1 s' AS at
    FROM ({_TREE}) tree
) tasks
"""

_WAITING = f"""
INSERT INTO workertoolbox_task (
    id, name, queue, args, kwargs, root_id, parent_id, replaced, retries, scheduled_at,
    origin, ignore_result, seen_at, published_at
)
SELECT id, 'maps.tile', 'maps', '[1, "some/folder"]', '{{"size": 1}}', :root, parent_id,
    0, 0, now(), 'me@host', false, now(), now()
FROM ({_TREE}) tree
"""

_ATTEMPTS = f"""
INSERT INTO workertoolbox_attempt (
    task_id, name, queue, replaced, retries, scheduled_at, seen_at
)
SELECT id, 'maps.tile', 'maps', 0, 0, now(), now() FROM ({_TREE}) tree
"""

_PLANNED = f"""
INSERT INTO workertoolbox_planned (id, name, root_id, parent_id, seen_at)
SELECT id, 'maps.tile', :root, parent_id, now() FROM ({_TREE}) tree
"""

_IS_KNOWN = "SELECT EXISTS (SELECT FROM workertoolbox_planned WHERE root_id = :id)"


def insert_large_workflows(connection: Connection) -> None:
    """Insert a workflow that has ended, and one of which a third waits or is planned.

    Nothing is inserted if the database has them.
    """
    known = text(_IS_KNOWN)
    if connection.scalar(known, {"id": OPEN}):
        return
    for statement, root, first, last in (
        (_HISTORY, ENDED, 0, SIZE - 1),
        (_HISTORY, OPEN, 0, SIZE - 1501),
        (_WAITING, OPEN, SIZE - 1500, SIZE - 501),
        (_ATTEMPTS, OPEN, SIZE - 1500, SIZE - 501),
        (_PLANNED, OPEN, SIZE - 500, SIZE - 1),
    ):
        values = {"root": root, "first": first, "last": last}
        if statement is _HISTORY:
            values["age"] = "2 days" if root == ENDED else "2 hours"
        connection.execute(text(statement), values)
