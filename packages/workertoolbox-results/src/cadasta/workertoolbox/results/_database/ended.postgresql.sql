-- Remember the end of a task when its result is deleted, whoever deletes it.
-- The function runs with the privileges of its owner, so that roles that delete results
-- need none on the table.
CREATE OR REPLACE FUNCTION workertoolbox_remember_ends() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO workertoolbox_ended AS known (
        task_id, status, ended_at, name, queue, root_id, parent_id, group_id, retries,
        worker, started_at, published_at, waited_s, not_run
    )
    SELECT task_id, status, date_done AT TIME ZONE 'UTC', name, queue, root_id,
        parent_id, group_id, retries, worker, started_at, published_at, waited_s,
        not_run
    FROM gone
    WHERE status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
    AND task_id IS NOT NULL
    AND coalesce(name, '') NOT IN ('celery.chord', 'celery.group')
    ORDER BY task_id
    ON CONFLICT (task_id) DO UPDATE SET
        status = excluded.status, ended_at = excluded.ended_at, name = excluded.name,
        queue = excluded.queue, root_id = excluded.root_id,
        parent_id = excluded.parent_id, group_id = excluded.group_id,
        retries = excluded.retries, worker = excluded.worker,
        started_at = excluded.started_at, published_at = excluded.published_at,
        waited_s = excluded.waited_s, not_run = excluded.not_run;
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS workertoolbox_remember_ends ON celery_taskmeta;
CREATE TRIGGER workertoolbox_remember_ends AFTER DELETE ON celery_taskmeta
REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION workertoolbox_remember_ends();
