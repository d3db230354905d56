-- The oldest tasks of every namespace and priority. Walks `tasks_waiting` from one namespace to the next and takes the
-- first few of each priority; tasks that are finished, held or on their way are not in that index.
WITH RECURSIVE namespaces (name) AS (
    (SELECT f.namespace FROM tasks f WHERE f.state = 'PENDING' AND NOT f.held ORDER BY f.namespace LIMIT 1)
    UNION ALL
    SELECT (SELECT n.namespace FROM tasks n WHERE n.state = 'PENDING' AND NOT n.held AND n.namespace > namespaces.name
            ORDER BY n.namespace LIMIT 1)
    FROM namespaces WHERE namespaces.name IS NOT NULL
)
SELECT w.id AS "id!", w.job AS "job!", w.namespace AS "namespace!", w.priority::bigint AS "priority!",
    w.queued_at AS "queued_at!", w.job IN (SELECT j.id FROM jobs j WHERE j.status = 'PROCESSING') AS "processing!"
FROM namespaces CROSS JOIN generate_series(0, 10) AS p (priority) CROSS JOIN LATERAL (
    SELECT t.id, t.job, t.namespace, t.priority, t.queued_at, t.idx FROM tasks t
    WHERE t.state = 'PENDING' AND NOT t.held AND t.namespace = namespaces.name AND t.priority = p.priority
        AND (t.not_before IS NULL OR t.not_before <= $1)
    ORDER BY t.queued_at, t.idx LIMIT $2
) w
WHERE namespaces.name IS NOT NULL
ORDER BY w.namespace, w.priority DESC, w.queued_at, w.idx
