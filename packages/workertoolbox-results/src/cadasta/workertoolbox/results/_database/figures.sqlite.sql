-- Views for figures, for people who write SQL; see docs/how-to/sql.md. They are those of
-- PostgreSQL. SQLite has no functions for percentiles.

DROP VIEW IF EXISTS workertoolbox_figures;
CREATE VIEW workertoolbox_figures AS
SELECT
    tier, at,
    CASE tier WHEN 'minute' THEN 60 WHEN 'hour' THEN 3600 ELSE 86400 END AS seconds,
    name, queue, status, error_group, count,
    CASE WHEN status = 'RETRY' THEN 0 ELSE retries END AS retries,
    redeliveries,
    CASE WHEN status = 'RETRY' THEN retries ELSE 0 END AS failed_attempts,
    waits, runs, totals
FROM workertoolbox_rollup;

DROP VIEW IF EXISTS workertoolbox_queues;
CREATE VIEW workertoolbox_queues AS
SELECT
    tier, at,
    CASE tier WHEN 'minute' THEN 60 WHEN 'hour' THEN 3600 ELSE 86400 END AS seconds,
    queue,
    queued_sum * 1.0 / (
        SELECT samples FROM workertoolbox_backlog every
        WHERE every.tier = each.tier AND every.at = each.at AND every.queue = ''
    ) AS queued,
    queued_max,
    scheduled_sum * 1.0 / (
        SELECT samples FROM workertoolbox_backlog every
        WHERE every.tier = each.tier AND every.at = each.at AND every.queue = ''
    ) AS scheduled,
    scheduled_max, oldest_max_s AS oldest_s
FROM workertoolbox_backlog each;

DROP VIEW IF EXISTS workertoolbox_error_groups;
CREATE VIEW workertoolbox_error_groups AS
SELECT
    id,
    CASE
        WHEN state = 'ignored' THEN 'ignored'
        WHEN state = 'resolved' AND last_at > resolved_at THEN 'back'
        WHEN state = 'resolved' THEN 'resolved'
        WHEN last_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-15 days') THEN 'quiet'
        WHEN first_at > strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day') THEN 'new'
        ELSE 'ongoing'
    END AS state,
    type, place, name, sample, first_task_id, last_task_id, first_at, last_at, count,
    retries, resolved_at
FROM workertoolbox_error_group
WHERE count > 0;

-- In SQLite, max and min with several arguments are NULL if one of them is.
DROP VIEW IF EXISTS workertoolbox_schedules;
CREATE VIEW workertoolbox_schedules AS
SELECT
    entry, service, name, schedule, timezone, origin, started_at, task_id, due_at, sent_at,
    late_s, next_at, count, missed, missed_at, doubled, doubled_at, first_at, overdue,
    removed, known_until
FROM (
    SELECT
        *,
        coalesce(
            strftime('%Y-%m-%d %H:%M:%f', next_at, coalesce(max_interval_s, 300) || ' seconds')
            < known_until, 0
        ) AND NOT coalesce(
            last_list_at > max(coalesce(confirmed_at, next_at), next_at), 0
        ) AS overdue,
        coalesce(last_list_at > confirmed_at, last_list_at IS NOT NULL) AS removed
    FROM (
        SELECT
            *,
            max(listed_at) OVER (PARTITION BY service) AS last_list_at,
            coalesce(max(listed_at, sent_at), listed_at, sent_at) AS confirmed_at
        FROM workertoolbox_schedule
    ) entries
    CROSS JOIN (
        SELECT min(present, coalesce(
            min(read_until) FILTER (
                WHERE reported_at >= strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 minute')
            ),
            max(read_until),
            present
        )) AS known_until
        FROM (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') || '000' AS present)
        LEFT JOIN workertoolbox_monitor
    ) monitors
) shown
WHERE NOT (overdue AND next_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-30 days'));
