-- The oldest tasks of every namespace and priority. Walks `tasks_waiting` from one namespace to the next and takes the
-- first few of each priority; tasks that are finished, held or on their way are not in that index.
WITH RECURSIVE namespaces (name) AS (
    SELECT MIN(namespace) FROM tasks WHERE state = 'PENDING' AND held = 0
    UNION ALL
    SELECT (SELECT MIN(t.namespace) FROM tasks t
            WHERE t.state = 'PENDING' AND t.held = 0 AND t.namespace > namespaces.name)
    FROM namespaces WHERE namespaces.name IS NOT NULL
),
priorities (priority) AS (VALUES (10), (9), (8), (7), (6), (5), (4), (3), (2), (1), (0))
SELECT t.id AS "id!: Uuid", t.job AS "job!: Uuid", t.namespace AS "namespace!", t.priority AS "priority!",
    t.queued_at AS "queued_at!", (SELECT j.status = 'PROCESSING' FROM jobs j WHERE j.id = t.job) AS "processing!: bool"
FROM namespaces CROSS JOIN priorities CROSS JOIN tasks t
WHERE namespaces.name IS NOT NULL AND t.rowid IN (
    SELECT w.rowid FROM tasks w
    WHERE w.namespace = namespaces.name AND w.priority = priorities.priority AND w.state = 'PENDING' AND w.held = 0
        AND (w.not_before IS NULL OR w.not_before <= ?1)
    ORDER BY w.queued_at, w.idx LIMIT ?2
)
ORDER BY t.namespace, t.priority DESC, t.queued_at, t.idx
