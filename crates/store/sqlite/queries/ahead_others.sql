-- The same of all other namespaces, and up to ?3 in all of them.
WITH RECURSIVE namespaces (name) AS (
    SELECT MIN(namespace) FROM tasks WHERE state = 'PENDING' AND held = 0
    UNION ALL
    SELECT (SELECT MIN(t.namespace) FROM tasks t
            WHERE t.state = 'PENDING' AND t.held = 0 AND t.namespace > namespaces.name)
    FROM namespaces WHERE namespaces.name IS NOT NULL
)
SELECT c.name AS "namespace!: String", COUNT(*) FILTER (WHERE c.above) AS "above!: i64",
    COUNT(*) FILTER (WHERE NOT c.above) AS "beside!: i64"
FROM (
    SELECT namespaces.name, t.queued_at <= b.value ->> 0 AS above
    FROM namespaces CROSS JOIN json_each(?2) b CROSS JOIN tasks t
    WHERE namespaces.name IS NOT NULL AND namespaces.name <> ?1 AND t.namespace = namespaces.name
        AND t.state = 'PENDING' AND t.held = 0 AND t.priority = b.key AND t.queued_at <= b.value ->> 1
    LIMIT ?3
) c
GROUP BY c.name
