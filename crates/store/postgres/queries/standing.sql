-- A job, and what of it is open.
SELECT j.status AS "status!", j.namespace AS "namespace!", j.priority AS "priority!", j.queued_at AS "queued_at!",
    o.running AS "running!", o.ready AS "ready!", o.not_before, o.published_at
FROM jobs j CROSS JOIN LATERAL (
    SELECT COUNT(*) FILTER (WHERE t.state = 'RUNNING') > 0 AS running,
        COUNT(*) FILTER (WHERE t.state = 'PENDING' AND (t.not_before IS NULL OR t.not_before <= $2)) > 0 AS ready,
        MIN(t.not_before) FILTER (WHERE t.state = 'PENDING') AS not_before, MIN(t.published_at) AS published_at
    FROM tasks t WHERE t.job = j.id AND t.state IN ('PENDING', 'PUBLISHED', 'RUNNING')
) o
WHERE j.id = $1
