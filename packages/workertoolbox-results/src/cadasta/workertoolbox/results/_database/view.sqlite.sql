-- The view workertoolbox_tasks: one row per task, joined with its result.
-- Its columns are in the order of `tasks` in tables.py. The three parts are tasks whose
-- message a monitor has seen, results without such a task, and planned steps.
--
-- Celery stores JSON as bytes. Text that is not valid JSON (NaN) is shown as a string.
-- A pickle, which begins with byte 0x80, is shown as NULL.

CREATE VIEW workertoolbox_tasks AS
SELECT
    t.id, t.name,
    coalesce(
        r.status,
        CASE WHEN t.eta > strftime('%Y-%m-%d %H:%M:%f', 'now')
            THEN 'SCHEDULED' ELSE 'QUEUED' END
    ) AS status,
    t.queue, t.args, t.kwargs, t.root_id, t.parent_id, t.group_id, t.retries,
    t.scheduled_at, t.eta, r.started_at,
    CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
        THEN r.date_done END AS finished_at,
    r.worker,
    CASE WHEN r.status <> 'STARTED' THEN
        CASE WHEN json_valid(CAST(r.result AS TEXT)) THEN CAST(r.result AS TEXT)
            WHEN substr(r.result, 1, 1) <> x'80'
            THEN json_quote(CAST(r.result AS TEXT)) END
    END AS result,
    r.traceback,
    1 AS tracked
FROM workertoolbox_task t LEFT JOIN celery_taskmeta r ON r.task_id = t.id
UNION ALL
SELECT
    r.task_id, r.name, r.status, r.queue,
    CASE WHEN json_valid(CAST(r.args AS TEXT)) THEN CAST(r.args AS TEXT)
        WHEN substr(r.args, 1, 1) <> x'80'
        THEN json_quote(CAST(r.args AS TEXT)) END,
    CASE WHEN json_valid(CAST(r.kwargs AS TEXT)) THEN CAST(r.kwargs AS TEXT)
        WHEN substr(r.kwargs, 1, 1) <> x'80'
        THEN json_quote(CAST(r.kwargs AS TEXT)) END,
    r.root_id, r.parent_id, r.group_id, r.retries,
    NULL, NULL, r.started_at,
    CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
        THEN r.date_done END,
    r.worker,
    CASE WHEN r.status <> 'STARTED' THEN
        CASE WHEN json_valid(CAST(r.result AS TEXT)) THEN CAST(r.result AS TEXT)
            WHEN substr(r.result, 1, 1) <> x'80'
            THEN json_quote(CAST(r.result AS TEXT)) END
    END,
    r.traceback,
    0
FROM celery_taskmeta r
WHERE NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = r.task_id)
UNION ALL
SELECT
    p.id, p.name, 'PLANNED', NULL, NULL, NULL, p.root_id, p.parent_id, r.group_id,
    r.retries, NULL, NULL, r.started_at, NULL, r.worker, NULL, r.traceback, 1
FROM workertoolbox_planned p LEFT JOIN celery_taskmeta r ON r.task_id = p.id
WHERE r.task_id IS NULL
AND NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = p.id)
