-- The first tasks of every job that has begun: it is being processed, or its first task is on its way.
WITH begun AS (
    SELECT j.id AS job FROM jobs j WHERE j.status = 'PROCESSING'
    UNION
    SELECT p.job FROM tasks p WHERE p.state = 'PUBLISHED'
)
SELECT w.id AS "id!", w.job AS "job!", w.namespace AS "namespace!", w.priority::bigint AS "priority!",
    w.queued_at AS "queued_at!", true AS "processing!"
FROM begun CROSS JOIN LATERAL (
    SELECT t.id, t.job, t.namespace, t.priority, t.queued_at FROM tasks t
    WHERE t.job = begun.job AND t.state = 'PENDING' AND NOT t.held AND (t.not_before IS NULL OR t.not_before <= $1)
    ORDER BY t.idx LIMIT $2
) w
