"""Tasks of the last 90 days in a database, as the archiver leaves them."""

from __future__ import annotations

import random

from sqlalchemy import Connection, text

from cadasta.workertoolbox.results._history.histogram import Histogram
from cadasta.workertoolbox.results._history.tiers import KEEP

#: Days with tasks, and days ahead for which the archiver creates tables.
DAYS, DAYS_AHEAD = 90, 7

#: The queue of the tasks with a rare name.
RARE_QUEUE = "queuerare"

ADD_DAYS = f"""
SELECT workertoolbox_add_day('default', (now() AT TIME ZONE 'UTC')::date - n)
FROM generate_series(-{DAYS_AHEAD}, {DAYS}) n
"""

#: The id of a task by its number: as random as the UUIDs that Celery makes.
ID = "overlay(overlay(md5(({0})::text) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid"

#: The tasks are numbered up to `:count`, the latest. Every tenth task starts a workflow
#: of four. There are fifty names, the first ones are the most frequent; the name gives
#: the queue. A hundred tasks have a rare name and its queue. Two in a hundred tasks
#: fail, in 250 ways. Each day has 160 workers of its own, as after a deployment.
ENDED = f"""
INSERT INTO workertoolbox_history (
    id, keep, day, name, status, queue, args, kwargs, root_id, parent_id, retries,
    scheduled_at, started_at, finished_at, listed_at, worker, result, tracked, waited_s,
    error_group, forgotten, published_at, replaced, origin, ignore_result, seen_at
)
SELECT
    {ID.format("n")}, 'default', (at AT TIME ZONE 'UTC')::date,
    'export.' || CASE WHEN rare THEN 'rare' ELSE kind::text END,
    CASE WHEN failed THEN 'FAILURE' ELSE 'SUCCESS' END,
    CASE WHEN rare THEN '{RARE_QUEUE}' ELSE 'queue' || kind % 8 END,
    '[1, "some/folder"]', '{{"size": 1}}', {ID.format("root")},
    CASE WHEN root <> n THEN {ID.format("root")} END, 0,
    at - (wait_s + run_s) * interval '1 s', at - run_s * interval '1 s', at,
    at - (wait_s + run_s) * interval '1 s',
    'celery@worker-' || to_char(at AT TIME ZONE 'UTC', 'MMDD-') || kind % 8 || '-'
        || n % 20,
    '{{"rows": 12, "path": "some/folder"}}', true, wait_s,
    CASE WHEN failed THEN '1:' || substr(md5(kind || '-' || n % 5), 1, 16) END, false,
    at - (wait_s + run_s) * interval '1 s', 0, 'me@host', false,
    at - (wait_s + run_s) * interval '1 s' + interval '0.1 s'
FROM (
    SELECT
        n, floor(50 * power((hashint4(n) & 65535) / 65536::float8, 3))::integer AS kind,
        CASE WHEN n % 10 < 4 THEN n - n % 10 ELSE n END AS root,
        hashint4(n + 1) % 50 = 3 AS failed,
        n % greatest(:count / 100, 1) = 5 AS rare,
        0.01 * power(1000::float8, (hashint4(n + 2) & 65535) / 65536::float8) AS wait_s,
        0.04 * power(1000::float8, (hashint4(n + 3) & 65535) / 65536::float8) AS run_s,
        now() - interval '1 min' - (:count - n) * :step_s * interval '1 s' AS at
    FROM generate_series(1, :count) n
) numbers
"""

#: The indexes of the history, except those of primary keys. Building an index takes
#: less time than adding each row to it.
INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = 'workertoolbox_history'::regclass AND NOT indisprimary
"""

#: Numbers of tasks. Rows with at least so many, but fewer than the next, have one of
#: `VARIANTS` histograms of so many durations.
COUNTS = (1, 5, 25, 200)
VARIANTS = 500

#: The figures of a tier. `{waits}` and `{runs}` give the histogram for a count.
ROLLUPS = """
INSERT INTO workertoolbox_rollup (
    tier, at, name, queue, status, error_group, count, retries, redeliveries, waits,
    runs
)
SELECT :tier, date_trunc(:tier, finished_at, 'UTC') AS at, name, queue, status,
    coalesce(error_group, ''), count(*), 0, 0, {waits}, {runs}
FROM workertoolbox_history
WHERE finished_at > now() - CAST(:kept AS interval)
AND day >= (now() - CAST(:kept AS interval))::date
GROUP BY at, name, queue, status, error_group
"""

ERROR_GROUPS = """
INSERT INTO workertoolbox_error_group (
    id, version, type, place, name, sample, first_task_id, last_task_id, first_at,
    last_at, count, retries, state
)
SELECT error_group, 1, 'ValueError', 'export.run', min(name), 'ValueError: no map',
    min(id), max(id), min(finished_at), max(finished_at), count(*), 0, 'open'
FROM workertoolbox_history WHERE error_group IS NOT NULL GROUP BY error_group
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


#: Samples of the backlog of eight queues, and of all queues together.
BACKLOG = """
INSERT INTO workertoolbox_backlog
SELECT tier, at, CASE WHEN n = 8 THEN '' ELSE 'queue' || n END, 1, 100, 100, 10, 10, 5
FROM (
        VALUES ('minute', interval '7 days'), ('hour', interval '90 days')
    ) tiers (tier, kept),
    generate_series(date_trunc(tier, now() - kept), now(), ('1 ' || tier)::interval) at,
    generate_series(0, 8) n
"""

#: A value of `{column}` that a task of `{days}` days ago has, or one of the days
#: before. Sorting all days would take PostgreSQL half a minute with 10 million tasks.
SAMPLE = """
SELECT {column} FROM generate_series({days}, {days} + 7) ago, LATERAL (
    SELECT {column} FROM workertoolbox_history
    WHERE {column} IS NOT NULL AND day = (now() AT TIME ZONE 'UTC')::date - ago LIMIT 1
) sample LIMIT 1
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
    indexes = connection.execute(text(INDEXES)).all()
    for name, _ in indexes:
        connection.exec_driver_sql(f"DROP INDEX {name}")
    connection.execute(text(ENDED), {"count": count, "step_s": step_s})
    for _, definition in indexes:
        connection.exec_driver_sql(definition.replace(" ON ONLY ", " ON "))
    insert_rollups(connection)
    connection.execute(text(ERROR_GROUPS))
    connection.execute(text(BACKLOG))
    live = {"backlog": backlog, "recent": recent}
    connection.execute(text(MESSAGES), live)
    connection.execute(text(RESULTS), live)
    connection.execute(text(UNEXPIRED))
    connection.execute(text(PLANNED), live)


def insert_rollups(connection: Connection) -> None:
    """Insert the figures of all tasks in the history."""
    histograms = {
        "waits": _histogram_for_count(0.01),
        "runs": _histogram_for_count(0.04),
    }
    for tier, kept in KEEP.items():
        values = {"tier": tier, "kept": f"{min(kept.days, DAYS + 1)} days"}
        connection.execute(text(ROLLUPS.format(**histograms)), values)


def _histogram_for_count(shortest_s: float) -> str:
    """Return the SQL expression for the histogram of a group of rows.

    Args:
        shortest_s: The shortest duration; the longest is a thousand times as long.
    """
    chance = random.Random(1)
    texts = [
        Histogram.of(
            shortest_s * 1000 ** chance.random() for _ in range(size)
        ).to_text()
        for size in COUNTS
        for _ in range(VARIANTS)
    ]
    size = f"width_bucket(count(*), ARRAY{[*COUNTS]})"
    variant = f"mod(abs(hashtext(name || min(id))), {VARIANTS})"
    return f"(ARRAY{texts})[{size} * {VARIANTS} - {variant}]".replace(":", "\\:")


def archived_id(number: int | str) -> str:
    """Return the SQL expression for the id of a task in the history.

    Args:
        number: Its number, or the SQL expression for it.
    """
    return f"{ID.format(number)}::text"
