-- The view workertoolbox_tasks: one row per task, joined with its result.
-- Its columns are in the order of `tasks` in tables.py. The three parts are tasks whose
-- message a monitor has seen, results without such a task, and planned steps.

-- Celery stores JSON as bytes. Text that jsonb refuses (NaN, NUL) is shown as a string.
-- Bytes that are not text (a pickle) are shown as NULL.
-- The function must not run in a parallel query: a block with EXCEPTION starts a
-- subtransaction.
CREATE OR REPLACE FUNCTION workertoolbox_json(content bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS $$
BEGIN
    RETURN convert_from(content, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
    BEGIN
        RETURN to_jsonb(convert_from(content, 'UTF8'));
    EXCEPTION WHEN others THEN
        RETURN NULL;
    END;
END $$;

-- The columns of all parts have the same types (hence ::text). Otherwise PostgreSQL
-- does not push a condition on the view down to the indexes of the tables.
-- In the last part, the result is joined only for the types of its columns: all of
-- them are NULL.
CREATE OR REPLACE VIEW workertoolbox_tasks AS
SELECT
    t.id, t.name,
    coalesce(
        r.status,
        CASE WHEN t.eta > now() THEN 'SCHEDULED' ELSE 'QUEUED' END
    ) AS status,
    t.queue, t.args, t.kwargs, t.root_id, t.parent_id, t.group_id, t.retries,
    t.scheduled_at, t.eta, r.started_at,
    CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
        THEN r.date_done AT TIME ZONE 'UTC' END AS finished_at,
    r.worker,
    CASE WHEN r.status <> 'STARTED' THEN workertoolbox_json(r.result) END AS result,
    r.traceback,
    true AS tracked
FROM workertoolbox_task t LEFT JOIN celery_taskmeta r ON r.task_id = t.id
UNION ALL
SELECT
    r.task_id::text, r.name::text, r.status, r.queue::text,
    workertoolbox_json(r.args), workertoolbox_json(r.kwargs),
    r.root_id, r.parent_id, r.group_id, r.retries,
    NULL, NULL, r.started_at,
    CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
        THEN r.date_done AT TIME ZONE 'UTC' END,
    r.worker,
    CASE WHEN r.status <> 'STARTED' THEN workertoolbox_json(r.result) END,
    r.traceback,
    false
FROM celery_taskmeta r
WHERE NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = r.task_id)
UNION ALL
SELECT
    p.id, p.name, 'PLANNED', NULL, NULL, NULL, p.root_id, p.parent_id, r.group_id,
    r.retries, NULL, NULL, r.started_at, NULL, r.worker, NULL, r.traceback, true
FROM workertoolbox_planned p LEFT JOIN celery_taskmeta r ON r.task_id = p.id
WHERE r.task_id IS NULL
AND NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = p.id);
