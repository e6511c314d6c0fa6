-- Triggers that keep `celery_taskmeta` and the history consistent, with any writer.

-- A row that changes after it was archived is archived again.
DROP TRIGGER IF EXISTS workertoolbox_result_changed;
CREATE TRIGGER workertoolbox_result_changed AFTER UPDATE ON celery_taskmeta
WHEN old.archived_at IS NOT NULL AND new.archived_at IS old.archived_at
OR old.forgotten AND new.date_done IS NOT old.date_done
BEGIN
    UPDATE celery_taskmeta SET archived_at = NULL, forgotten = NULL WHERE id = new.id;
END;

-- If another result replaces one that was restored without its end, the size is reset too.
DROP TRIGGER IF EXISTS workertoolbox_result_replaced;
CREATE TRIGGER workertoolbox_result_replaced AFTER UPDATE ON celery_taskmeta
WHEN old.result_bytes IS NOT NULL AND new.result IS NOT old.result
AND new.result_bytes IS old.result_bytes
BEGIN
    UPDATE celery_taskmeta SET result_bytes = NULL WHERE id = new.id;
END;

-- An end that is not archived yet is marked instead of deleted; the archiver deletes it.
DROP TRIGGER IF EXISTS workertoolbox_result_deleted;
CREATE TRIGGER workertoolbox_result_deleted BEFORE DELETE ON celery_taskmeta
WHEN old.archived_at IS NULL AND old.task_id IS NOT NULL
AND old.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED', 'LOST')
AND coalesce(old.name, '') NOT IN ('celery.chord', 'celery.group')
BEGIN
    UPDATE celery_taskmeta SET forgotten = 1 WHERE id = old.id;
    SELECT RAISE(IGNORE);
END;

-- If a message is stored after its task was archived, both are archived together. A result
-- that was deleted in the meantime is restored from the history. If the message queues the
-- task again, as in the function of PostgreSQL, the result is deleted instead; the history
-- keeps the end. An end that is not archived yet stays for the archiver, unless the task was
-- not run.
DROP TRIGGER IF EXISTS workertoolbox_message_stored;
CREATE TRIGGER workertoolbox_message_stored AFTER INSERT ON workertoolbox_task
BEGIN
    UPDATE celery_taskmeta SET archived_at = CURRENT_TIMESTAMP
    WHERE task_id = new.id AND archived_at IS NULL AND (
        not_run IS NOT NULL
        OR status = 'REVOKED' AND started_at IS NULL AND worker IS NULL
    ) AND coalesce(
        new.published_at > CASE
            WHEN new.retries < retries THEN strftime('%Y-%m-%d %H:%M:%f', date_done, '+1 day')
            WHEN not_run IS NOT NULL
                OR status = 'REVOKED' AND started_at IS NULL AND worker IS NULL
                THEN published_at
            WHEN published_at IS NULL OR retries IS NULL
                THEN strftime('%Y-%m-%d %H:%M:%f', date_done, '+1 day')
            ELSE max(published_at, date_done)
        END,
        not_run IS NOT NULL
    );
    DELETE FROM celery_taskmeta
    WHERE task_id = new.id AND archived_at IS NOT NULL
    AND coalesce(
        new.published_at > CASE
            WHEN new.retries < retries THEN strftime('%Y-%m-%d %H:%M:%f', date_done, '+1 day')
            WHEN not_run IS NOT NULL
                OR status = 'REVOKED' AND started_at IS NULL AND worker IS NULL
                THEN published_at
            WHEN published_at IS NULL OR retries IS NULL
                THEN strftime('%Y-%m-%d %H:%M:%f', date_done, '+1 day')
            ELSE max(published_at, date_done)
        END,
        not_run IS NOT NULL
    );
    UPDATE celery_taskmeta SET archived_at = NULL
    WHERE task_id = new.id AND archived_at IS NOT NULL;
    INSERT OR IGNORE INTO celery_taskmeta (
        task_id, status, result, date_done, traceback, children, name, args, kwargs,
        worker, retries, queue, started_at, root_id, parent_id, group_id, published_at,
        waited_s, not_run, attempts, error_group, forgotten, result_bytes
    )
    SELECT h.id, h.status, h.result, h.finished_at, h.traceback, h.children,
        substr(h.name, 1, 155), CAST(h.args AS BLOB), CAST(h.kwargs AS BLOB), h.worker,
        h.retries, substr(h.queue, 1, 155), h.started_at, h.root_id, h.parent_id,
        h.group_id, h.published_at, h.waited_s, h.not_run, h.attempts, h.error_group,
        h.forgotten, h.result_bytes
    FROM workertoolbox_history h
    WHERE h.id = new.id
    AND NOT coalesce(
        new.published_at > CASE
            WHEN new.retries < h.retries
                THEN strftime('%Y-%m-%d %H:%M:%f', h.finished_at, '+1 day')
            WHEN h.not_run IS NOT NULL
                OR h.status = 'REVOKED' AND h.started_at IS NULL AND h.worker IS NULL
                THEN h.published_at
            WHEN h.published_at IS NULL OR h.retries IS NULL
                THEN strftime('%Y-%m-%d %H:%M:%f', h.finished_at, '+1 day')
            ELSE max(h.published_at, h.finished_at)
        END,
        h.not_run IS NOT NULL
    )
    AND NOT EXISTS (SELECT 1 FROM celery_taskmeta r WHERE r.task_id = new.id);
END;
