-- Tasks of one namespace before a job, or beside it: of each priority those that were queued until a time, and up to
-- $4 in all. Reads one index, as far as it must.
SELECT COUNT(*) FILTER (WHERE c.above) AS "above!", COUNT(*) FILTER (WHERE NOT c.above) AS "beside!" FROM (
    SELECT w.above
    FROM UNNEST($2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS b (above, until, number)
    CROSS JOIN LATERAL (
        SELECT t.queued_at <= b.above AS above FROM tasks t
        WHERE t.state = 'PENDING' AND NOT t.held AND t.namespace = $1 AND t.priority = (b.number - 1)::smallint
            AND t.queued_at <= b.until
        LIMIT $4
    ) w
    LIMIT $4
) c
