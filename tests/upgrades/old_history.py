"""A database of the last release, with tasks of several years in every state.

The statements run on revision 0004, before most indexes exist, which is faster. Each
refers to `numbers`: a task's number `n`, its id, and the instant at which it was
published. One task in 200 is from one of twenty days of the last three years, and the
others are from the last three days. Statements with `{part}` are executed for several
parts of the tasks at the same time.
"""

from __future__ import annotations

#: Number of connections that store tasks at the same time.
PARTS = 2

NUMBERS = """
CREATE UNLOGGED TABLE numbers (
    n bigint, id text, root_id text, parent_id text, group_id text, name text,
    queue text, at timestamptz, retries integer
)
"""

#: Ids are UUIDs of version 4, like Celery's. OFFSET 0 computes each of them once.
FILL_NUMBERS = """
INSERT INTO numbers
SELECT
    n, id,
    -- The first of ten is a workflow's root, the next three are its children.
    CASE WHEN k < 4 THEN first_id ELSE id END,
    CASE WHEN k BETWEEN 1 AND 3 THEN first_id END,
    CASE WHEN k IN (4, 5) THEN group_id END,
    'export.' || n % 8, 'queue' || n % 4,
    now() - CASE
        WHEN n % 200 = 100 THEN (40 + n / 200 % 20 * 55) * interval '1 day'
        ELSE interval '10 minutes' + ({count} - n) * interval '3 days' / {count}
    END,
    CASE WHEN n % 100 = 5 THEN 2 ELSE 0 END
FROM (
    SELECT ten * 10 + k AS n, k, first_id, group_id,
        CASE k WHEN 0 THEN first_id ELSE gen_random_uuid()::text END AS id
    FROM (
        SELECT ten, gen_random_uuid()::text AS first_id,
            gen_random_uuid()::text AS group_id
        FROM generate_series({part}, {count}::bigint / 10, {parts}) AS ten OFFSET 0
    ) AS tens, generate_series(0, 9) AS k OFFSET 0
) AS each
WHERE n BETWEEN 1 AND {count}
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
FROM numbers WHERE n % 200 <> 6 AND n / 10 % {parts} = {part}
"""

ATTEMPTS = """
INSERT INTO workertoolbox_attempt (
    task_id, replaced, retries, name, queue, scheduled_at, eta, seen_at
)
SELECT id, 0, attempt, name, queue, at + attempt * interval '1 s', NULL,
    at + attempt * interval '1 s'
FROM numbers, generate_series(0, retries) attempt
WHERE n % 200 <> 6 AND n / 10 % {parts} = {part}
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
WHERE n % 500 <> 1 AND n % 1000 <> 2 AND n / 10 % {parts} = {part}
"""

#: Steps of chains, and of chords with a header that has not ended.
OTHERS = """
INSERT INTO workertoolbox_planned (id, name, root_id, parent_id, seen_at)
SELECT gen_random_uuid()::text, name, root_id, id, at FROM numbers WHERE n % 1000 = 13;
INSERT INTO workertoolbox_planned (id, name, root_id, parent_id, seen_at)
SELECT id, name, root_id, parent_id, at FROM numbers WHERE n % 1000 = 14;
INSERT INTO workertoolbox_chord (id, size, added, done, starters, touched_at)
SELECT group_id, 2, 2, 1, 0, at FROM numbers WHERE n % 1000 = 4;
INSERT INTO workertoolbox_chord_part (chord_id, task_id, position, status, result)
SELECT group_id, id, 0, 'SUCCESS', '12' FROM numbers WHERE n % 1000 = 4;
INSERT INTO celery_tasksetmeta (id, taskset_id, result, date_done)
SELECT nextval('taskset_id_sequence'), group_id, '[]',
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

#: The tasks that the last release shows before the upgrade.
SHOWN = """
CREATE UNLOGGED TABLE shown_before AS SELECT * FROM workertoolbox_tasks WHERE false
"""

FILL_SHOWN = """
INSERT INTO shown_before SELECT * FROM workertoolbox_tasks
WHERE (id < '8')::integer = {part}
"""

#: The numbers of other rows.
COUNTED = """
CREATE TABLE counted_before AS SELECT
    (SELECT count(*) FROM workertoolbox_quarantine) AS quarantined,
    (SELECT count(*) FROM workertoolbox_chord) AS chords,
    (SELECT count(*) FROM workertoolbox_chord_part) AS parts,
    (SELECT count(*) FROM celery_tasksetmeta) AS groups;
DROP TABLE numbers;
SET LOCAL default_statistics_target = 10;
ANALYZE
"""

#: A program for the last release. Arguments: a database URL and a number of tasks.
PROGRAM = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from alembic import command
from sqlalchemy import create_engine
from cadasta.workertoolbox.results import upgrade
from cadasta.workertoolbox.results._database.upgrade import alembic_config

url, count = sys.argv[1:]
engine = create_engine(url)

def execute(*statements, part=0):
    values = {{"count": count, "part": part, "parts": {PARTS}}}
    options = {{"no_parameters": True}}
    with engine.begin() as connection:
        for text in statements:
            for name, value in values.items():
                text = text.replace("{{" + name + "}}", str(value))
            connection.exec_driver_sql(text, execution_options=options)

def execute_parts(*statements):
    with ThreadPoolExecutor() as pool:
        parts = [pool.submit(execute, *statements, part=n) for n in range({PARTS})]
    for each in parts:
        each.result()

with engine.begin() as connection:
    command.upgrade(alembic_config(connection), "0004")
execute({NUMBERS!r})
execute_parts({FILL_NUMBERS!r})
execute_parts({TASKS!r}, {ATTEMPTS!r}, {RESULTS!r})
execute({OTHERS!r})
upgrade(url)
execute({WATERMARK!r}, {SHOWN!r})
execute_parts({FILL_SHOWN!r})
execute({COUNTED!r})
"""
