-- The view workertoolbox_tasks: one row per task, joined with its result.
-- Its columns are in the order of `tasks` in tables.py. The four parts are tasks whose
-- message a monitor has seen, results without such a task, ended tasks of which neither
-- is left, and planned steps.

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

-- The message of a task may be another one than the one that was run: an id can be
-- published twice, and a copy can be forged. `own` says whether it is the same, or not
-- known to be another. If not, the values that the worker stored are shown instead, so
-- that those of two runs are never mixed.
-- The columns of all parts have the same types (hence ::text). Otherwise PostgreSQL
-- does not push a condition on the view down to the indexes of the tables.
-- In the last part, the result is joined only for the types of its columns: all of
-- them are NULL.
CREATE OR REPLACE VIEW workertoolbox_tasks AS
SELECT
    t.id,
    CASE WHEN own THEN t.name ELSE coalesce(r.name::text, e.name, t.name) END AS name,
    coalesce(
        r.status,
        e.status::varchar,
        CASE WHEN t.eta > now() THEN 'SCHEDULED' ELSE 'QUEUED' END
    ) AS status,
    CASE WHEN own THEN t.queue ELSE coalesce(r.queue::text, e.queue, t.queue) END
        AS queue,
    CASE WHEN own THEN t.args ELSE coalesce(workertoolbox_json(r.args), t.args) END
        AS args,
    CASE WHEN own THEN t.kwargs
        ELSE coalesce(workertoolbox_json(r.kwargs), t.kwargs) END AS kwargs,
    CASE WHEN own THEN t.root_id ELSE coalesce(r.root_id, e.root_id, t.root_id) END
        AS root_id,
    nullif(
        CASE WHEN own OR coalesce(r.root_id, e.root_id) IS NULL THEN t.parent_id
            ELSE coalesce(r.parent_id, e.parent_id) END,
        t.id
    ) AS parent_id,
    CASE WHEN own OR coalesce(r.root_id, e.root_id) IS NULL THEN t.group_id
        ELSE coalesce(r.group_id, e.group_id) END AS group_id,
    CASE WHEN own THEN t.retries ELSE coalesce(r.retries, e.retries, t.retries) END
        AS retries,
    t.scheduled_at,
    CASE WHEN own THEN t.eta END AS eta,
    coalesce(r.started_at, e.started_at) AS started_at,
    coalesce(
        CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
            THEN r.date_done AT TIME ZONE 'UTC' END,
        e.ended_at
    ) AS finished_at,
    coalesce(r.worker, e.worker::varchar(155)) AS worker,
    CASE WHEN r.status <> 'STARTED' THEN workertoolbox_json(r.result) END AS result,
    r.traceback,
    true AS tracked,
    coalesce(r.waited_s, e.waited_s) AS waited_s
FROM workertoolbox_task t
LEFT JOIN celery_taskmeta r ON r.task_id = t.id
LEFT JOIN workertoolbox_ended e ON e.task_id = t.id AND r.task_id IS NULL
    AND coalesce(e.published_at >= t.published_at, true)
CROSS JOIN LATERAL (
    SELECT coalesce(r.status = 'RETRY', false)
        OR coalesce(coalesce(r.published_at, e.published_at) = t.published_at, true)
        AND coalesce(coalesce(r.retries, e.retries) = t.retries, true) AS own
) AS run
UNION ALL
SELECT
    r.task_id::text, r.name::text, r.status, r.queue::text,
    workertoolbox_json(r.args), workertoolbox_json(r.kwargs),
    r.root_id, nullif(r.parent_id, r.task_id::text), r.group_id, r.retries,
    NULL, NULL, r.started_at,
    CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
        THEN r.date_done AT TIME ZONE 'UTC' END,
    r.worker,
    CASE WHEN r.not_run IS NOT NULL THEN to_jsonb(r.not_run)
        WHEN r.status <> 'STARTED' THEN workertoolbox_json(r.result) END,
    CASE WHEN r.not_run IS NULL THEN r.traceback END,
    r.not_run IS NOT NULL,
    r.waited_s
FROM celery_taskmeta r
WHERE NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = r.task_id)
-- Celery stores a failure for a group or a chord too, but they are not tasks.
AND coalesce(r.name, '') NOT IN ('celery.chord', 'celery.group')
UNION ALL
SELECT
    e.task_id, e.name, e.status::varchar, e.queue, NULL, NULL,
    e.root_id, nullif(e.parent_id, e.task_id), e.group_id, e.retries,
    NULL, NULL, e.started_at, e.ended_at, e.worker::varchar(155), to_jsonb(e.not_run), NULL,
    e.not_run IS NOT NULL, e.waited_s
FROM workertoolbox_ended e
WHERE NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = e.task_id)
AND NOT EXISTS (SELECT 1 FROM celery_taskmeta r WHERE r.task_id = e.task_id)
UNION ALL
SELECT
    p.id, p.name, 'PLANNED', NULL, NULL, NULL, p.root_id, nullif(p.parent_id, p.id),
    p.group_id, r.retries, NULL, NULL, r.started_at, NULL, r.worker, NULL, r.traceback,
    true, r.waited_s
FROM workertoolbox_planned p LEFT JOIN celery_taskmeta r ON r.task_id = p.id
WHERE r.task_id IS NULL
AND NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = p.id)
AND NOT EXISTS (SELECT 1 FROM workertoolbox_ended e WHERE e.task_id = p.id);
