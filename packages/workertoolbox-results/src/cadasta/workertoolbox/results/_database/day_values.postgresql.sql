-- A trigger stores which values the tasks in the history have on which days.
CREATE OR REPLACE FUNCTION workertoolbox_history_added() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO workertoolbox_day_value (kind, value, day)
    SELECT DISTINCT v.kind, v.value, h.day
    FROM added h CROSS JOIN LATERAL (VALUES
        ('name', h.name), ('queue', h.queue), ('status', h.status), ('worker', h.worker),
        ('error_group', h.error_group), ('tracked', CASE WHEN NOT h.tracked THEN 'false' END),
        ('status_name', CASE WHEN h.status <> 'SUCCESS' THEN h.status || ' ' || h.name END)
    ) AS v (kind, value)
    WHERE v.value IS NOT NULL
    ORDER BY v.kind, v.value, h.day
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

-- As in the file of the history, a temporary table must not replace one of the toolbox.
DO $$
BEGIN
    EXECUTE format(
        'ALTER FUNCTION workertoolbox_history_added() SET search_path = %s, pg_temp',
        current_setting('search_path')
    );
END $$;

-- As there, so that no role can put the trigger on a table of its own.
REVOKE ALL ON FUNCTION workertoolbox_history_added FROM PUBLIC;

DROP TRIGGER IF EXISTS workertoolbox_history_added ON workertoolbox_history;
CREATE TRIGGER workertoolbox_history_added AFTER INSERT ON workertoolbox_history
REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION workertoolbox_history_added();
