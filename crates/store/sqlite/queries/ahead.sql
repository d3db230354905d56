-- Tasks of one namespace before a job, or beside it: of each priority those that were queued until a time, and up to ?3
-- in all. Reads one index, as far as it must.
SELECT COUNT(*) FILTER (WHERE c.above) AS "above!: i64", COUNT(*) FILTER (WHERE NOT c.above) AS "beside!: i64" FROM (
    SELECT t.queued_at <= b.value ->> 0 AS above FROM json_each(?2) b CROSS JOIN tasks t
    WHERE t.state = 'PENDING' AND t.held = 0 AND t.namespace = ?1 AND t.priority = b.key
        AND t.queued_at <= b.value ->> 1
    LIMIT ?3
) c
