-- Three views. workertoolbox_tracked has the live tasks with a message that a monitor has
-- seen, and workertoolbox_live all live tasks, both with results as they are stored.
-- workertoolbox_tasks has the live tasks with decoded results, the history, and the planned
-- steps. Their columns are in the order of `tracked`, `live` and `tasks` in view.py.
--
-- Celery stores JSON as bytes. Text that is not valid JSON (NaN) is shown as a string.
-- A pickle, which begins with byte 0x80, is shown as NULL.
--
-- The message of a task may be another one than the one that was run: an id can be
-- published twice, and a copy can be forged. `o` is the result if it belongs to another
-- message. Its values are shown then, so that those of two runs are never mixed. `later` is
-- the result if the message was published after that of the run, so that its time and its
-- sender are not those of the run either. The columns `message_…` are those of the message
-- in any case: indexes have them.

CREATE VIEW workertoolbox_tracked AS
SELECT
    t.id, coalesce(o.name, t.name) AS name,
    coalesce(
        r.status,
        CASE WHEN t.eta > strftime('%Y-%m-%d %H:%M:%f', 'now')
            THEN 'SCHEDULED' ELSE 'QUEUED' END
    ) AS status,
    coalesce(o.queue, t.queue) AS queue,
    CASE WHEN json_valid(CAST(o.args AS TEXT)) THEN CAST(o.args AS TEXT)
        ELSE t.args END AS args,
    CASE WHEN json_valid(CAST(o.kwargs AS TEXT)) THEN CAST(o.kwargs AS TEXT)
        ELSE t.kwargs END AS kwargs,
    coalesce(o.root_id, t.root_id) AS root_id,
    nullif(CASE WHEN o.root_id IS NULL THEN t.parent_id ELSE o.parent_id END, t.id)
        AS parent_id,
    CASE WHEN o.root_id IS NULL THEN t.group_id ELSE o.group_id END AS group_id,
    coalesce(o.retries, t.retries) AS retries,
    CASE WHEN later.published_at < t.scheduled_at THEN later.published_at
        ELSE t.scheduled_at END AS scheduled_at,
    CASE WHEN o.task_id IS NULL THEN t.eta END AS eta,
    r.started_at,
    CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED',
        'LOST')
        THEN r.date_done END AS finished_at,
    r.worker,
    CASE WHEN r.status <> 'STARTED' THEN r.result END AS result,
    r.not_run,
    CASE WHEN r.not_run IS NULL THEN r.traceback END AS traceback,
    1 AS tracked,
    r.waited_s,
    r.children,
    r.attempts,
    r.error_group,
    coalesce(r.forgotten, 0) AS forgotten,
    coalesce(r.published_at, t.published_at) AS published_at,
    t.replaced,
    CASE WHEN later.task_id IS NULL THEN t.expires END AS expires,
    CASE WHEN later.task_id IS NULL THEN t.origin END AS origin,
    t.ignore_result,
    t.seen_at,
    CASE WHEN later.task_id IS NULL THEN t.service END AS service,
    CASE WHEN later.task_id IS NULL THEN t.schedule END AS schedule,
    CASE WHEN later.task_id IS NULL THEN t.headers END AS headers,
    r.result_bytes,
    CASE WHEN later.task_id IS NULL THEN t.rerun_of END AS rerun_of,
    CASE WHEN o.task_id IS NULL THEN t.arguments END AS arguments,
    CASE WHEN o.task_id IS NULL THEN t.options END AS options,
    CASE WHEN o.task_id IS NULL THEN t.digest END AS digest,
    t.name AS message_name,
    t.queue AS message_queue,
    t.root_id AS message_root_id,
    t.parent_id AS message_parent_id,
    t.group_id AS message_group_id,
    t.scheduled_at AS message_at
FROM workertoolbox_task t
LEFT JOIN celery_taskmeta r ON r.task_id = t.id
LEFT JOIN celery_taskmeta o ON o.task_id = t.id AND o.status <> 'RETRY'
    AND (o.published_at <> t.published_at OR o.retries <> t.retries)
LEFT JOIN celery_taskmeta later ON later.task_id = t.id AND later.status <> 'RETRY'
    AND later.published_at < t.published_at;

-- The second part has results without a message. The unary + removes the affinity of a
-- column. SQLite computes only those columns of the view that a query needs if they have
-- the same affinity in all parts; otherwise it would read every result, however large.
CREATE VIEW workertoolbox_live AS
SELECT
    id, +name AS name, +status AS status, +queue AS queue, +args AS args,
    +kwargs AS kwargs, +root_id AS root_id, +parent_id AS parent_id,
    +group_id AS group_id, +retries AS retries, +scheduled_at AS scheduled_at,
    +eta AS eta, +started_at AS started_at, +finished_at AS finished_at,
    +worker AS worker, +result AS result, +not_run AS not_run, +traceback AS traceback,
    +tracked AS tracked, +waited_s AS waited_s, +children AS children,
    +attempts AS attempts, +error_group AS error_group, +forgotten AS forgotten,
    +published_at AS published_at, +replaced AS replaced, +expires AS expires,
    +origin AS origin, +ignore_result AS ignore_result, +seen_at AS seen_at,
    +service AS service, +schedule AS schedule, +headers AS headers,
    +result_bytes AS result_bytes, +rerun_of AS rerun_of, +arguments AS arguments,
    +options AS options, +digest AS digest
FROM workertoolbox_tracked
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
    CASE WHEN r.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED',
        'LOST')
        THEN r.date_done END,
    +r.worker,
    CASE WHEN r.status <> 'STARTED' THEN r.result END,
    +r.not_run,
    CASE WHEN r.not_run IS NULL THEN r.traceback END,
    r.not_run IS NOT NULL,
    +r.waited_s, +r.children, +r.attempts, +r.error_group, coalesce(r.forgotten, 0),
    coalesce(r.published_at, NULL), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, +r.result_bytes,
    NULL, NULL, NULL, NULL
FROM celery_taskmeta r
WHERE r.archived_at IS NULL
AND NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = r.task_id)
-- Celery stores a failure for a group or a chord too, but they are not tasks.
AND coalesce(r.name, '') NOT IN ('celery.chord', 'celery.group');

-- A task may be live and in the history until the archiver has merged both.
CREATE VIEW workertoolbox_tasks AS
SELECT
    id, name, status, queue, args, kwargs, root_id, parent_id, group_id, retries,
    scheduled_at, eta, started_at, finished_at, worker,
    CASE WHEN not_run IS NOT NULL THEN json_quote(not_run)
        WHEN json_valid(CAST(result AS TEXT)) THEN CAST(result AS TEXT)
        WHEN substr(result, 1, 1) <> x'80' THEN json_quote(CAST(result AS TEXT))
    END AS result,
    traceback, tracked, waited_s, origin, service, schedule, headers,
    rerun_of, arguments
FROM workertoolbox_live
UNION ALL
SELECT
    h.id, +h.name, +h.status, +h.queue, +h.args, +h.kwargs, +h.root_id, +h.parent_id,
    +h.group_id, +h.retries, +h.scheduled_at, +h.eta, +h.started_at, +h.finished_at,
    +h.worker,
    CASE WHEN h.not_run IS NOT NULL THEN json_quote(h.not_run)
        WHEN json_valid(CAST(h.result AS TEXT)) THEN CAST(h.result AS TEXT)
        WHEN substr(h.result, 1, 1) <> x'80' THEN json_quote(CAST(h.result AS TEXT))
    END,
    +h.traceback, +h.tracked, +h.waited_s, +h.origin, +h.service, +h.schedule,
    +h.headers, +h.rerun_of, +h.arguments
FROM workertoolbox_history h
WHERE NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = h.id)
AND NOT EXISTS (
    SELECT 1 FROM celery_taskmeta r WHERE r.task_id = h.id AND r.archived_at IS NULL
)
UNION ALL
SELECT
    p.id, +p.name, 'PLANNED', NULL, NULL, NULL, +p.root_id, nullif(p.parent_id, p.id),
    +p.group_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL,
    NULL, NULL, NULL, NULL, NULL, NULL
FROM workertoolbox_planned p
WHERE NOT EXISTS (SELECT 1 FROM workertoolbox_task t WHERE t.id = p.id)
AND NOT EXISTS (SELECT 1 FROM celery_taskmeta r WHERE r.task_id = p.id)
AND NOT EXISTS (SELECT 1 FROM workertoolbox_history h WHERE h.id = p.id);
