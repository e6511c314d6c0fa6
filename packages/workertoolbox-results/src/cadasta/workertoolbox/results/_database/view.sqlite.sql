-- The view workertoolbox_tasks: one row per task, joined with its result.
-- Its columns are in the order of `tasks` in tables.py. The four parts are tasks whose
-- message a monitor has seen, results without such a task, ended tasks of which neither
-- is left, and planned steps.
--
-- Celery stores JSON as bytes. Text that is not valid JSON (NaN) is shown as a string.
-- A pickle, which begins with byte 0x80, is shown as NULL.
--
-- The message of a task may be another one than the one that was run: an id can be
-- published twice, and a copy can be forged. `o` is the result if it belongs to another
-- message. Its values are shown then, so that those of two runs are never mixed.
--
-- The unary + removes the affinity of a column. SQLite computes only those columns of the
-- view that a query needs if they have the same affinity in all parts; otherwise it would
-- read every result, however large.

CREATE VIEW workertoolbox_tasks AS
SELECT
    t.id, coalesce(o.name, x.name, t.name) AS name,
    coalesce(
        r.status,
        e.status,
        CASE WHEN t.eta > strftime('%Y-%m-%d %H:%M:%f', 'now')
            THEN 'SCHEDULED' ELSE 'QUEUED' END
    ) AS status,
    coalesce(o.queue, x.queue, t.queue) AS queue,
    CASE WHEN json_valid(CAST(o.args AS TEXT)) THEN CAST(o.args AS TEXT)
        ELSE t.args END AS args,
    CASE WHEN json_valid(CAST(o.kwargs AS TEXT)) THEN CAST(o.kwargs AS TEXT)
        ELSE t.kwargs END AS kwargs,
    coalesce(o.root_id, x.root_id, t.root_id) AS root_id,
    nullif(
        CASE WHEN coalesce(o.root_id, x.root_id) IS NULL THEN t.parent_id
            ELSE coalesce(o.parent_id, x.parent_id) END,
        t.id
    ) AS parent_id,
    CASE WHEN coalesce(o.root_id, x.root_id) IS NULL THEN t.group_id
        ELSE coalesce(o.group_id, x.group_id) END AS group_id,
    coalesce(o.retries, x.retries, t.retries) AS retries,
    +t.scheduled_at AS scheduled_at,
    CASE WHEN coalesce(o.task_id, x.task_id) IS NULL THEN t.eta END AS eta,
    coalesce(r.started_at, e.started_at) AS started_at,
    coalesce(
        CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
            THEN r.date_done END,
        e.ended_at
    ) AS finished_at,
    coalesce(r.worker, e.worker) AS worker,
    CASE WHEN r.status <> 'STARTED' THEN
        CASE WHEN json_valid(CAST(r.result AS TEXT)) THEN CAST(r.result AS TEXT)
            WHEN substr(r.result, 1, 1) <> x'80'
            THEN json_quote(CAST(r.result AS TEXT)) END
    END AS result,
    +r.traceback AS traceback,
    1 AS tracked,
    coalesce(r.waited_s, e.waited_s) AS waited_s
FROM workertoolbox_task t
LEFT JOIN celery_taskmeta r ON r.task_id = t.id
LEFT JOIN workertoolbox_ended e ON e.task_id = t.id AND r.task_id IS NULL
    AND coalesce(e.published_at >= t.published_at, 1)
LEFT JOIN celery_taskmeta o ON o.task_id = t.id AND o.status <> 'RETRY'
    AND (o.published_at <> t.published_at OR o.retries <> t.retries)
LEFT JOIN workertoolbox_ended x ON x.task_id = e.task_id
    AND (x.published_at <> t.published_at OR x.retries <> t.retries)
UNION ALL
SELECT
    r.task_id, +r.name, +r.status, +r.queue,
    CASE WHEN json_valid(CAST(r.args AS TEXT)) THEN CAST(r.args AS TEXT)
        WHEN substr(r.args, 1, 1) <> x'80'
        THEN json_quote(CAST(r.args AS TEXT)) END,
    CASE WHEN json_valid(CAST(r.kwargs AS TEXT)) THEN CAST(r.kwargs AS TEXT)
        WHEN substr(r.kwargs, 1, 1) <> x'80'
        THEN json_quote(CAST(r.kwargs AS TEXT)) END,
    +r.root_id, nullif(r.parent_id, r.task_id), +r.group_id, +r.retries,
    NULL, NULL, +r.started_at,
    CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
        THEN r.date_done END,
    +r.worker,
    CASE WHEN r.not_run IS NOT NULL THEN json_quote(r.not_run)
        WHEN r.status <> 'STARTED' THEN
        CASE WHEN json_valid(CAST(r.result AS TEXT)) THEN CAST(r.result AS TEXT)
            WHEN substr(r.result, 1, 1) <> x'80'
            THEN json_quote(CAST(r.result AS TEXT)) END
    END,
    CASE WHEN r.not_run IS NULL THEN r.traceback END,
    r.not_run IS NOT NULL,
    +r.waited_s
FROM celery_taskmeta r
WHERE NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = r.task_id)
-- Celery stores a failure for a group or a chord too, but they are not tasks.
AND coalesce(r.name, '') NOT IN ('celery.chord', 'celery.group')
UNION ALL
SELECT
    e.task_id, +e.name, +e.status, +e.queue, NULL, NULL,
    +e.root_id, nullif(e.parent_id, e.task_id), +e.group_id, +e.retries,
    NULL, NULL, +e.started_at, +e.ended_at, +e.worker,
    CASE WHEN e.not_run IS NOT NULL THEN json_quote(e.not_run) END, NULL,
    e.not_run IS NOT NULL, +e.waited_s
FROM workertoolbox_ended e
WHERE NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = e.task_id)
AND NOT EXISTS (SELECT 1 FROM celery_taskmeta r WHERE r.task_id = e.task_id)
UNION ALL
SELECT
    p.id, +p.name, 'PLANNED', NULL, NULL, NULL, +p.root_id, nullif(p.parent_id, p.id),
    +p.group_id, +r.retries, NULL, NULL, +r.started_at, NULL, +r.worker, NULL,
    +r.traceback, 1, +r.waited_s
FROM workertoolbox_planned p LEFT JOIN celery_taskmeta r ON r.task_id = p.id
WHERE r.task_id IS NULL
AND NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = p.id)
AND NOT EXISTS (SELECT 1 FROM workertoolbox_ended e WHERE e.task_id = p.id)
