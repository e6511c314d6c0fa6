CREATE TRIGGER workertoolbox_remember_ends AFTER DELETE ON celery_taskmeta
WHEN old.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
AND old.task_id IS NOT NULL
AND coalesce(old.name, '') NOT IN ('celery.chord', 'celery.group')
BEGIN
    INSERT OR REPLACE INTO workertoolbox_ended (
        task_id, status, ended_at, name, queue, root_id, parent_id, group_id, retries,
        worker, started_at, published_at, waited_s, not_run
    )
    VALUES (
        old.task_id, old.status, old.date_done, old.name, old.queue, old.root_id,
        old.parent_id, old.group_id, old.retries, old.worker, old.started_at,
        old.published_at, old.waited_s, old.not_run
    );
END
