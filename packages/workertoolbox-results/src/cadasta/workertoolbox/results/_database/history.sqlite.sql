-- Triggers that keep `celery_taskmeta` and the history consistent, with any writer.

-- A row that changes after it was archived is archived again.
CREATE TRIGGER workertoolbox_result_changed AFTER UPDATE ON celery_taskmeta
WHEN old.archived_at IS NOT NULL AND new.archived_at IS old.archived_at
OR old.forgotten AND new.date_done IS NOT old.date_done
BEGIN
    UPDATE celery_taskmeta SET archived_at = NULL, forgotten = NULL WHERE id = new.id;
END;

-- An end that is not archived yet is marked instead of deleted; the archiver deletes it.
CREATE TRIGGER workertoolbox_result_deleted BEFORE DELETE ON celery_taskmeta
WHEN old.archived_at IS NULL AND old.task_id IS NOT NULL
AND old.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED', 'LOST')
AND coalesce(old.name, '') NOT IN ('celery.chord', 'celery.group')
BEGIN
    UPDATE celery_taskmeta SET forgotten = 1 WHERE id = old.id;
    SELECT RAISE(IGNORE);
END;

-- If a message is stored after its task was archived, both are archived together. A result
-- that was deleted in the meantime is restored from the history, unless the message was
-- published later: then the task is queued again.
CREATE TRIGGER workertoolbox_message_stored AFTER INSERT ON workertoolbox_task
BEGIN
    UPDATE celery_taskmeta SET archived_at = NULL
    WHERE task_id = new.id AND archived_at IS NOT NULL;
    INSERT OR IGNORE INTO celery_taskmeta (
        task_id, status, result, date_done, traceback, children, name, args, kwargs,
        worker, retries, queue, started_at, root_id, parent_id, group_id, published_at,
        waited_s, not_run, attempts, error_group, forgotten
    )
    SELECT h.id, h.status, h.result, h.finished_at, h.traceback, h.children,
        substr(h.name, 1, 155), CAST(h.args AS BLOB), CAST(h.kwargs AS BLOB), h.worker,
        h.retries, substr(h.queue, 1, 155), h.started_at, h.root_id, h.parent_id,
        h.group_id, h.published_at, h.waited_s, h.not_run, h.attempts, h.error_group,
        h.forgotten
    FROM workertoolbox_history h
    WHERE h.id = new.id AND coalesce(new.published_at <= h.published_at, 1)
    AND NOT EXISTS (SELECT 1 FROM celery_taskmeta r WHERE r.task_id = new.id);
END;
