-- Functions and triggers that keep `celery_taskmeta` and the history consistent, also with
-- writes by an earlier release, by Celery's own backend, or in psql. The functions run with
-- the privileges of their owner, so that other roles need no privileges on the tables that
-- the functions change.

-- A row that changes after it was archived is archived again. If another result replaces one
-- that was restored without its end, the size is reset too.
CREATE OR REPLACE FUNCTION workertoolbox_result_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.archived_at := NULL;
    NEW.forgotten := NULL;
    IF OLD.result_bytes IS NOT NULL AND NEW.result IS DISTINCT FROM OLD.result THEN
        NEW.result_bytes := NULL;
    END IF;
    RETURN NEW;
END $$;

DROP TRIGGER IF EXISTS workertoolbox_result_changed ON celery_taskmeta;
CREATE TRIGGER workertoolbox_result_changed BEFORE UPDATE ON celery_taskmeta
FOR EACH ROW WHEN (
    OLD.archived_at IS NOT NULL AND NEW.archived_at IS NOT DISTINCT FROM OLD.archived_at
    OR OLD.forgotten AND NEW.date_done IS DISTINCT FROM OLD.date_done
    OR OLD.result_bytes IS NOT NULL AND NEW.result IS DISTINCT FROM OLD.result
)
EXECUTE FUNCTION workertoolbox_result_changed();

-- An end that is not archived yet is marked instead of deleted; the archiver deletes it.
CREATE OR REPLACE FUNCTION workertoolbox_result_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE celery_taskmeta SET forgotten = true WHERE id = OLD.id;
    RETURN NULL;
END $$;

-- With the right to execute it, a role could put the trigger on a table of its own, whose
-- types convert values by functions that then run with the privileges of the owner. A
-- trigger that exists fires without this right.
REVOKE ALL ON FUNCTION workertoolbox_result_deleted FROM PUBLIC;

DROP TRIGGER IF EXISTS workertoolbox_result_deleted ON celery_taskmeta;
CREATE TRIGGER workertoolbox_result_deleted BEFORE DELETE ON celery_taskmeta
FOR EACH ROW WHEN (
    OLD.archived_at IS NULL AND OLD.task_id IS NOT NULL
    AND OLD.status IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED', 'LOST')
    AND coalesce(OLD.name, '') NOT IN ('celery.chord', 'celery.group')
)
EXECUTE FUNCTION workertoolbox_result_deleted();

-- Return whether a message queues an ended task again: it was published after the end, and
-- later than the message of the run that ended. Copies of that message do not. A message with
-- fewer retries is that of an earlier attempt, as far as clocks may differ: by a day. The same
-- is assumed if that message is not known. A task that ended without a run, such as a step
-- after a failure, is queued by any later message but its own.
CREATE OR REPLACE FUNCTION workertoolbox_is_queued_again(
    published_at timestamptz, retries int, run_published_at timestamptz, run_retries int,
    ended_at timestamptz, was_run boolean, not_run text
) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        published_at > CASE
            WHEN retries < run_retries THEN ended_at + interval '1 day'
            WHEN NOT was_run THEN run_published_at
            WHEN run_published_at IS NULL OR run_retries IS NULL
                THEN ended_at + interval '1 day'
            ELSE greatest(run_published_at, ended_at)
        END,
        not_run IS NOT NULL
    )
$$;

-- If a message is stored after its task was archived, both are archived together. A result
-- that was deleted in the meantime is restored from the history. If the message queues the
-- task again, the result is deleted instead; the history keeps the end. An end that is not
-- archived yet stays for the archiver, unless the task was not run.
-- The end of a task is not older than its publication, so that only the days since then are
-- searched.
-- LATERAL and OFFSET 0 make PostgreSQL look up each message separately: it keeps the plan of
-- a function while the tables grow, and cannot estimate the number of messages.
CREATE OR REPLACE FUNCTION workertoolbox_message_stored() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
SET enable_seqscan = off SET jit = off AS $$
DECLARE
    ended record;
    since date;
    late text[];
    day_found date;
BEGIN
    -- The lock waits for an archiver that is archiving the result without this message,
    -- and returns the committed row. Workers do not wait for this lock.
    FOR ended IN
        SELECT r.id, r.archived_at, r.date_done, workertoolbox_is_queued_again(
            s.published_at, s.retries, r.published_at, r.retries,
            r.date_done AT TIME ZONE 'UTC', r.was_run, r.not_run
        ) AS is_again
        FROM stored s CROSS JOIN LATERAL (
            SELECT id, archived_at, published_at, retries, date_done, not_run,
                not_run IS NULL AND (
                    status <> 'REVOKED' OR started_at IS NOT NULL OR worker IS NOT NULL
                ) AS was_run
            FROM celery_taskmeta
            WHERE task_id = s.id OFFSET 0 FOR KEY SHARE
        ) AS r
        WHERE r.archived_at IS NOT NULL OR NOT r.was_run
    LOOP
        IF ended.is_again THEN
            -- Unless a worker has stored a state of the next run meanwhile.
            UPDATE celery_taskmeta SET archived_at = now()
            WHERE id = ended.id AND archived_at IS NOT DISTINCT FROM ended.archived_at
            AND date_done IS NOT DISTINCT FROM ended.date_done;
            -- A trigger keeps results that are not archived.
            IF FOUND THEN
                DELETE FROM celery_taskmeta WHERE id = ended.id;
            END IF;
        ELSE
            UPDATE celery_taskmeta SET archived_at = NULL
            WHERE id = ended.id AND archived_at IS NOT NULL;
        END IF;
    END LOOP;

    -- A result stays for longer than these minutes after its task is archived.
    FOR since, late IN
        SELECT (coalesce(published_at, scheduled_at) - interval '1 day')::date, array_agg(id)
        FROM stored
        WHERE coalesce(published_at < now() - interval '5 minutes', true)
        AND (SELECT r.id FROM celery_taskmeta r WHERE r.task_id = stored.id) IS NULL
        GROUP BY 1
    LOOP
        FOR day_found IN
            SELECT DISTINCT day FROM workertoolbox_search_days('id', late, false, since)
        LOOP
            -- With a literal, so that PostgreSQL locks the tables of this day only.
            EXECUTE format(
                $insert$
                INSERT INTO celery_taskmeta (
                    id, task_id, status, result, date_done, traceback, children, name,
                    args, kwargs, worker, retries, queue, started_at, root_id, parent_id,
                    group_id, published_at, waited_s, not_run, attempts, error_group,
                    forgotten, result_bytes
                )
                SELECT nextval('task_id_sequence'), h.id, h.status, h.result,
                    h.finished_at AT TIME ZONE 'UTC', h.traceback, h.children,
                    left(h.name, 155), convert_to(h.args::text, 'UTF8'),
                    convert_to(h.kwargs::text, 'UTF8'), h.worker, h.retries,
                    left(h.queue, 155), h.started_at, h.root_id, h.parent_id, h.group_id,
                    h.published_at, h.waited_s, h.not_run, h.attempts, h.error_group,
                    h.forgotten, h.result_bytes
                FROM workertoolbox_history h JOIN stored s ON s.id = h.id
                WHERE h.day = %L AND h.id = ANY ($1)
                AND NOT workertoolbox_is_queued_again(
                    s.published_at, s.retries, h.published_at, h.retries, h.finished_at,
                    h.not_run IS NULL AND (
                        h.status <> 'REVOKED' OR h.started_at IS NOT NULL
                        OR h.worker IS NOT NULL
                    ), h.not_run
                )
                ON CONFLICT (task_id) DO NOTHING
                $insert$, day_found
            ) USING late;
        END LOOP;
    END LOOP;
    RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION workertoolbox_message_stored FROM PUBLIC;

DROP TRIGGER IF EXISTS workertoolbox_message_stored ON workertoolbox_task;
CREATE TRIGGER workertoolbox_message_stored AFTER INSERT ON workertoolbox_task
REFERENCING NEW TABLE AS stored
FOR EACH STATEMENT EXECUTE FUNCTION workertoolbox_message_stored();

-- The name of the table of one retention class and one day.
CREATE OR REPLACE FUNCTION workertoolbox_day_table(keep text, day date) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT 'workertoolbox_history_'
        || CASE keep WHEN 'default' THEN keep ELSE left(md5(keep), 8) END
        || to_char(day, '_YYYYMMDD')
$$;

-- Create the table of one retention class and one day (UTC), if it does not exist.
-- A table is created first and attached afterwards: that does not wait for readers, and
-- readers do not wait for it. It waits for a vacuum or the creation of an index, and fails
-- if that takes long (55P03).
CREATE OR REPLACE FUNCTION workertoolbox_add_day(keep text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
SET lock_timeout = '500ms' AS $$
DECLARE
    part text := workertoolbox_day_table(keep, day);
    class text := left(part, -length('_YYYYMMDD'));
BEGIN
    -- Two monitors may create the same table.
    PERFORM pg_advisory_xact_lock(hashtext('workertoolbox_add_day'));
    IF to_regclass(class) IS NULL THEN
        EXECUTE format(
            'CREATE TABLE %I (LIKE workertoolbox_history INCLUDING DEFAULTS) '
            'PARTITION BY RANGE (day)', class
        );
        EXECUTE format(
            'ALTER TABLE workertoolbox_history ATTACH PARTITION %I FOR VALUES IN (%L)',
            class, keep
        );
    END IF;
    IF to_regclass(part) IS NULL THEN
        EXECUTE format(
            'CREATE TABLE %I (LIKE workertoolbox_history INCLUDING DEFAULTS)', part
        );
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            class, part, day, day + 1
        );
    END IF;
END $$;
REVOKE ALL ON FUNCTION workertoolbox_add_day FROM PUBLIC;

-- Drop the table of one retention class and one day (UTC), if it exists. The statement waits
-- for all transactions that have read the class, and later readers wait behind it: twice
-- 200 ms at most. After that it fails (55P03).
CREATE OR REPLACE FUNCTION workertoolbox_drop_day(keep text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
SET lock_timeout = '10s' AS $$
BEGIN
    -- An archiver may have found the table, and not written to it yet. Other statements do
    -- not wait for this lock.
    PERFORM pg_advisory_xact_lock(x'776F7262'::int);
    SET LOCAL lock_timeout = '200ms';
    EXECUTE format('DROP TABLE IF EXISTS %I', workertoolbox_day_table(keep, day));
END $$;
REVOKE ALL ON FUNCTION workertoolbox_drop_day FROM PUBLIC;

-- The days that have tables, with the number of their tables: one for each retention class.
CREATE OR REPLACE FUNCTION workertoolbox_days() RETURNS TABLE (day date, tables bigint)
LANGUAGE sql STABLE AS $$
    SELECT to_date(right(relname, 8), 'YYYYMMDD'), count(*)
    FROM pg_inherits classes
    JOIN pg_inherits days ON days.inhparent = classes.inhrelid
    JOIN pg_class ON pg_class.oid = days.inhrelid
    WHERE classes.inhparent = to_regclass('workertoolbox_history')
    GROUP BY 1
$$;

-- The locks that a query on the whole history takes, and for how many the server has room.
CREATE OR REPLACE FUNCTION workertoolbox_lock_use() RETURNS TABLE (
    tables bigint, locks bigint, transactions int, capacity int
) LANGUAGE sql STABLE AS $$
    SELECT used.tables, used.tables * (
            SELECT 1 + count(*) FROM pg_index
            WHERE indrelid = to_regclass('workertoolbox_history')
        ), server.transactions,
        server.transactions * current_setting('max_locks_per_transaction')::int
    FROM (SELECT coalesce(sum(d.tables), 0)::bigint AS tables FROM workertoolbox_days() d)
        AS used,
    (SELECT current_setting('max_connections')::int
        + current_setting('max_prepared_transactions')::int AS transactions) AS server
$$;

-- Autovacuum collects statistics of each day, but not of the history as a whole. A tenth
-- of the usual sample is enough. Before PostgreSQL 18, ANALYZE locks all days with their
-- indexes, so that it is left out when that would fill the lock table.
CREATE OR REPLACE FUNCTION workertoolbox_analyze_history() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
SET default_statistics_target = 10 AS $$
BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        EXECUTE 'ANALYZE ONLY workertoolbox_history';
    ELSIF (SELECT locks < capacity / 2 FROM workertoolbox_lock_use()) THEN
        ANALYZE workertoolbox_history;
    END IF;
END $$;
REVOKE ALL ON FUNCTION workertoolbox_analyze_history FROM PUBLIC;

-- Find tasks by a key in all days from `first` on, or in all days without it, the newest days
-- first. `newest` stops the search for a key at the first days that have it.
-- A statement on all days would lock every table with its indexes until the end of the
-- transaction, and the locks of a few such statements fill the lock table of the server.
-- Therefore each statement searches up to 16 tables, and its locks are released with the
-- subtransaction that an exception ends. It takes longer to plan than to run, so it is
-- prepared once in each session. Its days are multiples of the same span, so that a session
-- does not need other statements on the next day. The tables may grow later, so the plan
-- uses indexes from the start. A function with its owner's privileges does not use prepared
-- statements, because its caller may have prepared another one under the same name.
CREATE OR REPLACE FUNCTION workertoolbox_search_days(
    key text, keys text[], newest boolean, first date DEFAULT '-infinity'
) RETURNS TABLE (id text, root_id text, group_id text, day date)
LANGUAGE plpgsql SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
DECLARE
    condition text := CASE key
        WHEN 'id' THEN 'h.id = ANY ($1)'
        WHEN 'root' THEN 'h.id = ANY ($1) AND h.root_id = h.id'
        -- The index leaves out tasks that are their own root, which most tasks are.
        WHEN 'member' THEN 'h.root_id = ANY ($1) AND h.root_id <> h.id'
        WHEN 'group' THEN 'h.group_id = ANY ($1)'
        WHEN 'parent' THEN 'h.parent_id = ANY ($1)'
    END;
    span int := (SELECT greatest(1, 16 / max(d.tables)) FROM workertoolbox_days() d);
    is_own boolean := current_user = session_user;
    since date;
    prepared text;
    query text;
    ids text[];
    roots text[];
    groups text[];
    days date[];
BEGIN
    FOR since IN
        SELECT DISTINCT d.day - (d.day - date '0001-01-01') % span
        FROM workertoolbox_days() d WHERE d.day >= first ORDER BY 1 DESC
    LOOP
        query := format(
            'SELECT array_agg(h.id), array_agg(h.root_id), array_agg(h.group_id), '
            'array_agg(h.day) FROM workertoolbox_history h '
            'WHERE %s AND h.day >= %L AND h.day < %L AND h.day >= $2',
            condition, since, since + span
        );
        prepared := format(
            'workertoolbox_%s_%s_%s_%s',
            'workertoolbox_history'::regclass::oid, key, since, span
        );
        IF is_own AND NOT EXISTS (
            SELECT FROM pg_prepared_statements WHERE name = prepared
        ) THEN
            EXECUTE format('PREPARE %I (text[], date) AS %s', prepared, query);
        END IF;
        BEGIN
            IF is_own THEN
                query := format('EXECUTE %I (%L, %L)', prepared, keys, first);
                EXECUTE query INTO ids, roots, groups, days;
            ELSE
                EXECUTE query INTO ids, roots, groups, days USING keys, first;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'WT001';
        EXCEPTION WHEN SQLSTATE 'WT001' THEN
            NULL;
        END;
        CONTINUE WHEN ids IS NULL;
        RETURN QUERY SELECT * FROM unnest(ids, roots, groups, days);
        IF newest THEN
            keys := ARRAY(SELECT unnest(keys) EXCEPT SELECT unnest(ids));
            EXIT WHEN keys = '{}';
        END IF;
    END LOOP;
END $$;

-- Find tasks in all days by their ids, their roots, their groups or their parents.
CREATE OR REPLACE FUNCTION workertoolbox_find_archived(
    ids text[], roots text[], groups text[], parents text[]
) RETURNS TABLE (id text, root_id text, group_id text, day date)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    key text;
    keys text[];
BEGIN
    FOR key, keys IN VALUES
        ('id', ids), ('root', roots), ('member', roots), ('group', groups),
        ('parent', parents)
    LOOP
        IF keys <> '{}' THEN
            RETURN QUERY SELECT * FROM workertoolbox_search_days(key, keys, false);
        END IF;
    END LOOP;
END $$;

-- A function with its owner's privileges, or one that it calls, must not use a caller's
-- temporary table in place of a table of the toolbox. PostgreSQL searches temporary tables
-- first, unless the search path names `pg_temp`.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'workertoolbox_result_deleted()', 'workertoolbox_message_stored()',
        'workertoolbox_add_day(text, date)', 'workertoolbox_drop_day(text, date)',
        'workertoolbox_analyze_history()',
        'workertoolbox_search_days(text, text[], boolean, date)'
    ] LOOP
        EXECUTE format(
            'ALTER FUNCTION %s SET search_path = %s, pg_temp',
            name, current_setting('search_path')
        );
    END LOOP;
END $$;
