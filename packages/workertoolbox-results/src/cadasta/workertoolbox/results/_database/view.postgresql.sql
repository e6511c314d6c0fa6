-- Three views. workertoolbox_tracked has the live tasks with a message that a monitor has
-- seen, and workertoolbox_live all live tasks, both with results as they are stored.
-- workertoolbox_tasks has the live tasks with decoded results, the history, and the planned
-- steps. Their columns are in the order of `tracked`, `live` and `tasks` in view.py.

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
-- that those of two runs are never mixed. `later` says that the message was published after
-- that of the run, so that its time and its sender are not those of the run either. The
-- columns `message_…` are those of the message in any case: indexes have them.
CREATE OR REPLACE VIEW workertoolbox_tracked AS
SELECT
    t.id,
    CASE WHEN own THEN t.name ELSE coalesce(r.name::text, t.name) END AS name,
    coalesce(
        r.status, CASE WHEN t.eta > now() THEN 'SCHEDULED' ELSE 'QUEUED' END
    ) AS status,
    CASE WHEN own THEN t.queue ELSE coalesce(r.queue::text, t.queue) END AS queue,
    CASE WHEN own THEN t.args ELSE coalesce(workertoolbox_json(r.args), t.args) END
        AS args,
    CASE WHEN own THEN t.kwargs
        ELSE coalesce(workertoolbox_json(r.kwargs), t.kwargs) END AS kwargs,
    CASE WHEN own THEN t.root_id ELSE coalesce(r.root_id, t.root_id) END AS root_id,
    nullif(
        CASE WHEN own OR r.root_id IS NULL THEN t.parent_id ELSE r.parent_id END, t.id
    ) AS parent_id,
    CASE WHEN own OR r.root_id IS NULL THEN t.group_id ELSE r.group_id END AS group_id,
    CASE WHEN own THEN t.retries ELSE coalesce(r.retries, t.retries) END AS retries,
    CASE WHEN later THEN least(t.scheduled_at, r.published_at) ELSE t.scheduled_at END
        AS scheduled_at,
    CASE WHEN own THEN t.eta END AS eta,
    r.started_at,
    CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED',
        'LOST')
        THEN r.date_done AT TIME ZONE 'UTC' END AS finished_at,
    r.worker,
    CASE WHEN r.status <> 'STARTED' THEN r.result END AS result,
    r.not_run,
    CASE WHEN r.not_run IS NULL THEN r.traceback END AS traceback,
    true AS tracked,
    r.waited_s,
    r.children,
    r.attempts,
    r.error_group,
    coalesce(r.forgotten, false) AS forgotten,
    coalesce(r.published_at, t.published_at) AS published_at,
    t.replaced,
    CASE WHEN NOT later THEN t.expires END AS expires,
    CASE WHEN NOT later THEN t.origin END AS origin,
    t.ignore_result,
    t.seen_at,
    CASE WHEN NOT later THEN t.service END AS service,
    CASE WHEN NOT later THEN t.schedule END AS schedule,
    CASE WHEN NOT later THEN t.headers END AS headers,
    r.result_bytes,
    CASE WHEN NOT later THEN t.rerun_of END AS rerun_of,
    CASE WHEN own THEN t.arguments END AS arguments,
    CASE WHEN own THEN t.options END AS options,
    CASE WHEN own THEN t.digest END AS digest,
    t.name AS message_name,
    t.queue AS message_queue,
    t.root_id AS message_root_id,
    t.parent_id AS message_parent_id,
    t.group_id AS message_group_id,
    t.scheduled_at AS message_at
FROM workertoolbox_task t
LEFT JOIN celery_taskmeta r ON r.task_id = t.id
CROSS JOIN LATERAL (
    SELECT coalesce(r.status = 'RETRY', false)
        OR coalesce(r.published_at = t.published_at, true)
        AND coalesce(r.retries = t.retries, true) AS own,
        coalesce(r.published_at < t.published_at AND r.status <> 'RETRY', false) AS later
) AS run;

-- The second part has results without a message. The columns of all parts have the same
-- types (hence ::text). Otherwise PostgreSQL does not push a condition on the view down to
-- the indexes of the tables.
CREATE OR REPLACE VIEW workertoolbox_live AS
SELECT
    id, name, status, queue, args, kwargs, root_id, parent_id, group_id, retries,
    scheduled_at, eta, started_at, finished_at, worker, result, not_run, traceback, tracked,
    waited_s, children, attempts, error_group, forgotten, published_at, replaced, expires,
    origin, ignore_result, seen_at, service, schedule, headers, result_bytes, rerun_of,
    arguments, options, digest
FROM workertoolbox_tracked
UNION ALL
SELECT
    r.task_id::text, r.name::text, r.status, r.queue::text,
    workertoolbox_json(r.args), workertoolbox_json(r.kwargs),
    r.root_id, nullif(r.parent_id, r.task_id::text), r.group_id, r.retries,
    NULL, NULL, r.started_at,
    CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED',
        'LOST')
        THEN r.date_done AT TIME ZONE 'UTC' END,
    r.worker,
    CASE WHEN r.status <> 'STARTED' THEN r.result END,
    r.not_run,
    CASE WHEN r.not_run IS NULL THEN r.traceback END,
    r.not_run IS NOT NULL,
    r.waited_s, r.children, r.attempts, r.error_group, coalesce(r.forgotten, false),
    r.published_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, r.result_bytes,
    NULL, NULL, NULL, NULL
FROM celery_taskmeta r
WHERE r.archived_at IS NULL
AND NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = r.task_id)
-- Celery stores a failure for a group or a chord too, but they are not tasks.
AND coalesce(r.name, '') NOT IN ('celery.chord', 'celery.group');

-- A task may be live and in the history until the archiver has merged both.
-- In the last part, the result is joined only for the types of its columns: all of them
-- are NULL.
CREATE OR REPLACE VIEW workertoolbox_tasks AS
SELECT
    id, name, status, queue, args, kwargs, root_id, parent_id, group_id, retries,
    scheduled_at, eta, started_at, finished_at, worker,
    CASE WHEN not_run IS NOT NULL THEN to_jsonb(not_run)
        ELSE workertoolbox_json(result) END AS result,
    traceback, tracked, waited_s, origin, service, schedule, headers,
    rerun_of, arguments
FROM workertoolbox_live
UNION ALL
SELECT
    h.id, h.name, h.status, h.queue, h.args, h.kwargs, h.root_id, h.parent_id,
    h.group_id, h.retries, h.scheduled_at, h.eta, h.started_at, h.finished_at, h.worker,
    CASE WHEN h.not_run IS NOT NULL THEN to_jsonb(h.not_run)
        ELSE workertoolbox_json(h.result) END,
    h.traceback, h.tracked, h.waited_s, h.origin, h.service, h.schedule, h.headers,
    h.rerun_of, h.arguments
FROM workertoolbox_history h
WHERE NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = h.id)
AND NOT EXISTS (
    SELECT 1 FROM celery_taskmeta r WHERE r.task_id = h.id AND r.archived_at IS NULL
)
UNION ALL
SELECT
    p.id, p.name, 'PLANNED', NULL, NULL, NULL, p.root_id, nullif(p.parent_id, p.id),
    p.group_id, r.retries, NULL, NULL, r.started_at, NULL, r.worker, NULL,
    r.traceback, true, r.waited_s, NULL, NULL, NULL, NULL, NULL, NULL
FROM workertoolbox_planned p LEFT JOIN celery_taskmeta r ON r.task_id = p.id
WHERE r.task_id IS NULL
AND NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = p.id)
AND NOT EXISTS (SELECT 1 FROM workertoolbox_history h WHERE h.id = p.id);
