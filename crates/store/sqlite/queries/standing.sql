-- A job, and what of it is open.
SELECT j.status AS "status!", j.namespace AS "namespace!", j.priority AS "priority!", j.queued_at AS "queued_at!",
    COUNT(*) FILTER (WHERE t.state = 'RUNNING') > 0 AS "running!: bool",
    COUNT(*) FILTER (WHERE t.state = 'PENDING' AND (t.not_before IS NULL OR t.not_before <= ?2)) > 0 AS "ready!: bool",
    MIN(t.not_before) FILTER (WHERE t.state = 'PENDING') AS "not_before: i64", MIN(t.published_at) AS "published_at: i64"
FROM jobs j LEFT JOIN tasks t ON t.job = j.id AND t.state IN ('PENDING', 'PUBLISHED', 'RUNNING')
WHERE j.id = ?1
GROUP BY j.id
