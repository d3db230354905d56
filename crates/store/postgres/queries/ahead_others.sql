-- The same of all other namespaces, and up to $4 in all of them.
WITH RECURSIVE namespaces (name) AS (
    (SELECT f.namespace FROM tasks f WHERE f.state = 'PENDING' AND NOT f.held ORDER BY f.namespace LIMIT 1)
    UNION ALL
    SELECT (SELECT n.namespace FROM tasks n WHERE n.state = 'PENDING' AND NOT n.held AND n.namespace > namespaces.name
            ORDER BY n.namespace LIMIT 1)
    FROM namespaces WHERE namespaces.name IS NOT NULL
)
SELECT c.name AS "namespace!", COUNT(*) FILTER (WHERE c.above) AS "above!",
    COUNT(*) FILTER (WHERE NOT c.above) AS "beside!"
FROM (
    SELECT n.name, w.above
    FROM namespaces n
    CROSS JOIN UNNEST($2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS b (above, until, number)
    CROSS JOIN LATERAL (
        SELECT t.queued_at <= b.above AS above FROM tasks t
        WHERE t.state = 'PENDING' AND NOT t.held AND t.namespace = n.name AND t.priority = (b.number - 1)::smallint
            AND t.queued_at <= b.until
        LIMIT $4
    ) w
    WHERE n.name IS NOT NULL AND n.name <> $1
    LIMIT $4
) c
GROUP BY c.name
