-- Views and functions for figures, for people who write SQL; see docs/how-to/sql.md. The views hide
-- how the archiver stores the figures. They run with the privileges of their owner, so that
-- a role that reads them needs no privileges on the tables. None of them depends on the
-- `search_path` of the caller: the names in functions in SQL are resolved when these are
-- created (BEGIN ATOMIC), so that the planner can still replace the calls, and the others
-- have a path of their own.

CREATE OR REPLACE VIEW workertoolbox_figures AS
SELECT
    tier, at,
    CASE tier WHEN 'minute' THEN 60 WHEN 'hour' THEN 3600 ELSE 86400 END AS seconds,
    name, queue, status, error_group, count,
    CASE WHEN status = 'RETRY' THEN 0 ELSE retries END AS retries,
    redeliveries,
    CASE WHEN status = 'RETRY' THEN retries ELSE 0 END AS failed_attempts,
    waits, runs, totals
FROM workertoolbox_rollup;

-- A queue without a row in a sample had no tasks, so that averages are over the samples of
-- all queues together. Columns that a query does not need are not computed.
CREATE OR REPLACE VIEW workertoolbox_queues AS
SELECT
    tier, at,
    CASE tier WHEN 'minute' THEN 60 WHEN 'hour' THEN 3600 ELSE 86400 END AS seconds,
    queue,
    queued_sum::double precision / (
        SELECT samples FROM workertoolbox_backlog every
        WHERE every.tier = each.tier AND every.at = each.at AND every.queue = ''
    ) AS queued,
    queued_max,
    scheduled_sum::double precision / (
        SELECT samples FROM workertoolbox_backlog every
        WHERE every.tier = each.tier AND every.at = each.at AND every.queue = ''
    ) AS scheduled,
    scheduled_max, oldest_max_s AS oldest_s
FROM workertoolbox_backlog each;

CREATE OR REPLACE VIEW workertoolbox_error_groups AS
SELECT
    id,
    CASE
        WHEN state = 'ignored' THEN 'ignored'
        WHEN state = 'resolved' AND last_at > resolved_at THEN 'back'
        WHEN state = 'resolved' THEN 'resolved'
        WHEN last_at < now() - interval '15 days' THEN 'quiet'
        WHEN first_at > now() - interval '1 day' THEN 'new'
        ELSE 'ongoing'
    END AS state,
    type, place, name, sample, first_task_id, last_task_id, first_at, last_at, count,
    retries, resolved_at
FROM workertoolbox_error_group
WHERE count > 0;

-- Beat may be late by the longest time for which it sleeps. GREATEST and LEAST ignore NULL.
CREATE OR REPLACE VIEW workertoolbox_schedules AS
SELECT
    entry, service, name, schedule, timezone, origin, started_at, task_id, due_at, sent_at,
    late_s, next_at, count, missed, missed_at, doubled, doubled_at, first_at, overdue,
    removed, known_until
FROM (
    SELECT
        *,
        coalesce(
            next_at + coalesce(max_interval_s, 300) * interval '1 second' < known_until, false
        ) AND NOT coalesce(
            last_list_at > greatest(listed_at, sent_at, next_at), false
        ) AS overdue,
        coalesce(
            last_list_at > greatest(listed_at, sent_at), last_list_at IS NOT NULL
        ) AS removed
    FROM (
        SELECT *, max(listed_at) OVER (PARTITION BY service) AS last_list_at
        FROM workertoolbox_schedule
    ) entries
    CROSS JOIN (
        SELECT least(now(), coalesce(
            min(read_until) FILTER (WHERE reported_at >= now() - interval '1 minute'),
            max(read_until)
        )) AS known_until
        FROM workertoolbox_monitor
    ) monitors
) shown
WHERE NOT (overdue AND next_at < now() - interval '30 days');

-- Return the fewest intervals that cover a window of whole minutes, as up to five ranges of a
-- tier. Where minutes or hours may have been deleted, the window is extended to whole hours
-- or days. The archiver keeps minutes for 7 days and hours for 90 days, by its own clock.
-- A window without a beginning or an end, NULL, has no intervals.
CREATE OR REPLACE FUNCTION workertoolbox_intervals(
    since timestamptz, until timestamptz,
    OUT tier text, OUT first_at timestamptz, OUT end_at timestamptz
) RETURNS SETOF record LANGUAGE plpgsql STABLE STRICT ROWS 1
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    minutes_since timestamptz := now() - interval '167 hours';
    hours_since timestamptz := now() - interval '89 days';
    starts timestamptz := date_trunc('minute', since, 'UTC');
    ends timestamptz := date_trunc('minute', until + interval '59.999999 seconds', 'UTC');
    first_hour timestamptz;
    last_hour timestamptz;
    first_day timestamptz;
    last_day timestamptz;
BEGIN
    first_hour := date_trunc('hour', starts, 'UTC');
    last_hour := date_trunc('hour', ends, 'UTC');
    IF starts < least(minutes_since, first_hour + interval '1 hour') THEN
        starts := first_hour;
    END IF;
    IF greatest(last_hour, starts) < least(minutes_since, ends) THEN
        ends := last_hour + interval '1 hour';
    END IF;
    first_day := date_trunc('day', starts, 'UTC');
    last_day := date_trunc('day', ends, 'UTC');
    IF starts < least(hours_since, first_day + interval '24 hours') THEN
        starts := first_day;
    END IF;
    IF greatest(last_day, starts) < least(hours_since, ends) THEN
        ends := last_day + interval '24 hours';
    END IF;

    first_hour := date_trunc('hour', starts + interval '59 minutes', 'UTC');
    last_hour := date_trunc('hour', ends, 'UTC');
    first_day := date_trunc('day', starts + interval '23 hours 59 minutes', 'UTC');
    last_day := date_trunc('day', ends, 'UTC');
    IF first_hour >= last_hour THEN
        first_hour := ends;
        last_hour := ends;
    END IF;
    IF first_day >= last_day THEN
        first_day := last_hour;
        last_day := last_hour;
    END IF;
    RETURN QUERY
    SELECT * FROM (VALUES
        ('minute', starts, first_hour),
        ('hour', first_hour, first_day),
        ('day', first_day, last_day),
        ('hour', last_day, last_hour),
        ('minute', last_hour, ends)
    ) AS ranges (tier, first_at, end_at)
    WHERE ranges.first_at < ranges.end_at;
END $$;

-- Return the rows of `workertoolbox_figures` for a window. The planner replaces the call by
-- its query.
CREATE OR REPLACE FUNCTION workertoolbox_figures_between(
    since timestamptz, until timestamptz
) RETURNS SETOF workertoolbox_figures LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT figures.*
    FROM workertoolbox_intervals(since, until) AS ranges
    JOIN workertoolbox_figures figures ON figures.tier = ranges.tier
    AND figures.at >= ranges.first_at AND figures.at < ranges.end_at;
END;

-- Return the tier for a graph of a window: up to 360 minutes, 360 hours, or else days.
CREATE OR REPLACE FUNCTION workertoolbox_tier(
    since timestamptz, until timestamptz
) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE BEGIN ATOMIC
    SELECT CASE
        WHEN until - since <= interval '6 hours' AND since >= now() - interval '167 hours'
            THEN 'minute'
        WHEN until - since <= interval '15 days' AND since >= now() - interval '89 days'
            THEN 'hour'
        ELSE 'day'
    END;
END;

-- Return the sum of histograms. Each element is a bucket, times 2^52, plus its number of
-- durations. `_history/histogram_text.py` describes the texts. Eight bytes are added at once, in
-- four sums with two bytes each, which is several times as fast as byte by byte.
CREATE OR REPLACE FUNCTION workertoolbox_add_histograms(
    histograms text[]
) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE BEGIN ATOMIC
    WITH parts AS MATERIALIZED (
        SELECT
            split_part(histogram, ':', 1)::bigint AS zeros,
            split_part(histogram, ':', 2)::integer * split_part(histogram, ':', 3)::integer
                AS first,
            split_part(histogram, ':', 3)::integer AS size,
            decode(split_part(histogram, ':', 4), 'base64') AS bytes
        FROM unnest(histograms) AS histogram
        WHERE histogram <> ''
    ),
    places AS (
        SELECT
            size, first / 8 AS first,
            substr('\x00000000000000'::bytea, 1, first % 8) || bytes AS bytes,
            generate_series(0, (first % 8 + length(bytes) - 1) / 8) AS place
        FROM parts
    ),
    sums AS (
        SELECT
            size, word,
            sum(eight & 1095216660735)::bigint AS last,
            sum(eight >> 8 & 1095216660735)::bigint AS third,
            sum(eight >> 16 & 1095216660735)::bigint AS second,
            sum(eight >> 24 & 1095216660735)::bigint AS first
        FROM (
            SELECT
                size, first + place AS word,
                ('x' || encode(substr(bytes, 8 * place + 1, 8), 'hex'))::bit(64)::bigint
                    AS eight
            FROM places
            OFFSET 0
        ) AS words
        GROUP BY size, word
    ),
    counts AS (
        SELECT 0::bigint AS bucket, sum(zeros)::bigint AS number FROM parts
        UNION ALL
        SELECT
            (8 * word + place - 1) / size,
            sum(number << (8 * ((place::integer - 1) % size)))::bigint
        FROM sums, unnest(ARRAY[
            first >> 32, second >> 32, third >> 32, last >> 32,
            first & 4294967295, second & 4294967295, third & 4294967295, last & 4294967295
        ]) WITH ORDINALITY AS sum (number, place)
        GROUP BY 1
    )
    SELECT array_agg((bucket << 52) + number ORDER BY bucket) FROM counts WHERE number > 0;
END;

CREATE OR REPLACE AGGREGATE workertoolbox_sum(text) (
    SFUNC = array_append, STYPE = text[], INITCOND = '{}',
    FINALFUNC = workertoolbox_add_histograms, PARALLEL = SAFE
);

-- Return a percentile in seconds, by nearest rank, of a sum of histograms; NULL without
-- durations. The error is at most 2 %.
CREATE OR REPLACE FUNCTION workertoolbox_percentile(
    histogram bigint[], fraction double precision
) RETURNS double precision LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number_bits CONSTANT bigint := (1::bigint << 52) - 1;
    element bigint;
    number bigint := 0;
    rank bigint;
BEGIN
    IF fraction NOT BETWEEN 0 AND 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('fraction must be between 0 and 1, got %s', fraction);
    END IF;
    FOREACH element IN ARRAY histogram LOOP
        number := number + (element & number_bits);
    END LOOP;
    -- As a decimal number, 0.95 is exact.
    rank := greatest(ceil(fraction::numeric * number), 1);
    FOREACH element IN ARRAY histogram LOOP
        rank := rank - (element & number_bits);
        IF rank <= 0 THEN
            RETURN CASE element >> 52 WHEN 0 THEN 0
                ELSE 1e-6 * 1.04::double precision ^ (element >> 52) * 2 / 2.04 END;
        END IF;
    END LOOP;
END $$;
