-- A trigger stores which values the tasks in the history have on which days.
DROP TRIGGER IF EXISTS workertoolbox_history_added;
CREATE TRIGGER workertoolbox_history_added AFTER INSERT ON workertoolbox_history BEGIN
    INSERT OR IGNORE INTO workertoolbox_day_value (kind, value, day)
    SELECT kind, value, NEW.day FROM (
        SELECT 'name' AS kind, NEW.name AS value
        UNION ALL SELECT 'queue', NEW.queue
        UNION ALL SELECT 'status', NEW.status
        UNION ALL SELECT 'worker', NEW.worker
        UNION ALL SELECT 'error_group', NEW.error_group
        UNION ALL SELECT 'tracked', CASE WHEN NOT NEW.tracked THEN 'false' END
        UNION ALL SELECT 'status_name',
            CASE WHEN NEW.status <> 'SUCCESS' THEN NEW.status || ' ' || NEW.name END
    ) WHERE value IS NOT NULL;
END;
