"""A database of the last release, with tasks of several years in every state.

The statements run on revision 0004, before most indexes exist, which is faster. Each
refers to `numbers`: a task's number `n`, its id, and the instant at which it was
published. One task in 200 is up to three years old, and the others are from the last
three days.
"""

from __future__ import annotations

#: Ids like Celery's: UUIDs of version 4, made from a number.
ID = """
CREATE FUNCTION old_id(kind text, n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
SELECT overlay(
    overlay(md5(kind || n) PLACING '4' FROM 13 FOR 1) PLACING 'a' FROM 17 FOR 1
)::uuid::text $$
"""

NUMBERS = """
CREATE TABLE numbers AS
SELECT
    n, old_id('task', n) AS id,
    -- The first of ten is a workflow's root, the next three are its children.
    CASE WHEN n % 10 < 4 THEN old_id('task', n - n % 10) ELSE old_id('task', n) END
        AS root_id,
    CASE WHEN n % 10 BETWEEN 1 AND 3 THEN old_id('task', n - n % 10) END AS parent_id,
    CASE WHEN n % 10 IN (4, 5) THEN old_id('group', n / 10) END AS group_id,
    'export.' || n % 8 AS name, 'queue' || n % 4 AS queue,
    now() - CASE
        WHEN n % 200 = 100 THEN (40 + n % 1095) * interval '1 day'
        ELSE interval '10 minutes' + ({count} - n) * interval '3 days' / {count}
    END AS at,
    CASE WHEN n % 100 = 5 THEN 2 ELSE 0 END AS retries
FROM generate_series(1, {count}::bigint) n
"""

#: One task in 200 has no message.
TASKS = """
INSERT INTO workertoolbox_task (
    id, name, queue, args, kwargs, root_id, parent_id, group_id, replaced, retries,
    scheduled_at, eta, expires, origin, ignore_result, seen_at
)
SELECT
    id, name, queue, '[1, "some/folder", "é"]', jsonb_build_object('n', n), root_id,
    parent_id, group_id, 0, retries, at,
    CASE WHEN n % 1000 = 2 THEN now() + interval '1 day' END, NULL, 'me@host', false,
    at + interval '0.1 s'
FROM numbers WHERE n % 200 <> 6
"""

ATTEMPTS = """
INSERT INTO workertoolbox_attempt (
    task_id, replaced, retries, name, queue, scheduled_at, eta, seen_at
)
SELECT id, 0, attempt, name, queue, at + attempt * interval '1 s', NULL,
    at + attempt * interval '1 s'
FROM numbers, generate_series(0, retries) attempt WHERE n % 200 <> 6
"""

#: Some tasks are queued or scheduled, and have no result.
RESULTS = """
INSERT INTO celery_taskmeta (
    id, task_id, status, result, date_done, traceback, name, args, kwargs, worker,
    retries, queue, started_at, root_id, parent_id, group_id
)
SELECT
    nextval('task_id_sequence'), id, status,
    CASE status
        WHEN 'SUCCESS' THEN convert_to('{"rows": 12, "of": "é"}', 'UTF8')
        WHEN 'STARTED' THEN 'null'
        ELSE '{"exc_type": "KeyError", "exc_message": ["no"], "exc_module": "builtins"}'
    END,
    (at + interval '5 s') AT TIME ZONE 'UTC',
    CASE WHEN status IN ('FAILURE', 'RETRY') THEN 'Traceback: …' END,
    name, '[1, "some/folder"]', '{}', 'worker' || n % 200 || '@host', retries, queue,
    CASE WHEN status <> 'REVOKED' THEN at + interval '1 s' END,
    root_id, parent_id, group_id
FROM numbers, LATERAL (
    SELECT CASE
        WHEN n % 50 = 3 THEN 'FAILURE'
        WHEN n % 1000 = 7 THEN 'REVOKED'
        WHEN n % 5000 = 11 THEN 'RETRY'
        WHEN n % 1000 = 13 THEN 'STARTED'
        ELSE 'SUCCESS'
    END AS status
) AS s
WHERE n % 500 <> 1 AND n % 1000 <> 2
"""

#: Steps of chains, and of chords with a header that has not ended.
OTHERS = """
INSERT INTO workertoolbox_planned (id, name, root_id, parent_id, seen_at)
SELECT old_id('step', n), name, root_id, id, at FROM numbers WHERE n % 1000 = 13;
INSERT INTO workertoolbox_planned (id, name, root_id, parent_id, seen_at)
SELECT id, name, root_id, parent_id, at FROM numbers WHERE n % 1000 = 14;
INSERT INTO workertoolbox_chord (id, size, added, done, starters, touched_at)
SELECT old_id('group', n / 10), 2, 2, 1, 0, at FROM numbers WHERE n % 1000 = 4;
INSERT INTO workertoolbox_chord_part (chord_id, task_id, position, status, result)
SELECT group_id, id, 0, 'SUCCESS', '12' FROM numbers WHERE n % 1000 = 4;
INSERT INTO celery_tasksetmeta (id, taskset_id, result, date_done)
SELECT nextval('taskset_id_sequence'), old_id('group', n / 10), '[]',
    at AT TIME ZONE 'UTC'
FROM numbers WHERE n % 1000 = 4;
INSERT INTO workertoolbox_quarantine (digest, reason, body, headers, seen_at)
SELECT md5(n::text), 'not JSON', '{', '{}', at FROM numbers WHERE n % 10000 = 15
"""

#: How far monitors have filled their tables: up to the middle.
WATERMARK = """
UPDATE workertoolbox_watermark SET (seen_at, date_done) =
    (SELECT at, at AT TIME ZONE 'UTC' FROM numbers WHERE n = {count} / 2);
INSERT INTO workertoolbox_queued (task_id, scheduled_at, due_at)
SELECT t.id, t.scheduled_at, coalesce(t.eta, t.scheduled_at)
FROM workertoolbox_task t, workertoolbox_watermark w
WHERE t.seen_at <= w.seen_at AND NOT EXISTS (
    SELECT 1 FROM celery_taskmeta r WHERE r.task_id = t.id
);
INSERT INTO workertoolbox_untracked (
    task_id, date_done, name, queue, root_id, parent_id
)
SELECT r.task_id, r.date_done, r.name, r.queue, r.root_id, r.parent_id
FROM celery_taskmeta r, workertoolbox_watermark w
WHERE r.date_done <= w.date_done AND NOT EXISTS (
    SELECT 1 FROM workertoolbox_task t WHERE t.id = r.task_id
);
"""

#: The tasks that the last release shows before the upgrade, and numbers of other rows.
SHOWN = """
CREATE TABLE shown_before AS SELECT * FROM workertoolbox_tasks;
CREATE TABLE counted_before AS SELECT
    (SELECT count(*) FROM workertoolbox_quarantine) AS quarantined,
    (SELECT count(*) FROM workertoolbox_chord) AS chords,
    (SELECT count(*) FROM workertoolbox_chord_part) AS parts,
    (SELECT count(*) FROM celery_tasksetmeta) AS groups;
DROP TABLE numbers;
ANALYZE
"""

#: A program for the last release. Arguments: a database URL and a number of tasks.
PROGRAM = f"""
import sys
from alembic import command
from sqlalchemy import create_engine
from cadasta.workertoolbox.results import upgrade
from cadasta.workertoolbox.results._database.upgrade import alembic_config

url, count = sys.argv[1:]
engine = create_engine(url)

def execute(*statements):
    options = {{"no_parameters": True}}
    with engine.begin() as connection:
        for each in statements:
            text = each.replace("{{count}}", count)
            connection.exec_driver_sql(text, execution_options=options)

with engine.begin() as connection:
    command.upgrade(alembic_config(connection), "0004")
execute({ID!r}, {NUMBERS!r}, {TASKS!r}, {ATTEMPTS!r}, {RESULTS!r}, {OTHERS!r})
upgrade(url)
execute({WATERMARK!r}, {SHOWN!r})
"""
