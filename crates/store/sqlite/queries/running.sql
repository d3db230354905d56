-- Every part reads an index that holds no finished work.
SELECT r.namespace AS "namespace!", SUM(r.jobs) AS "jobs!: i64", SUM(r.tasks) AS "tasks!: i64" FROM (
    SELECT b.namespace, 1 AS jobs, 0 AS tasks FROM (
        SELECT j.namespace, j.id FROM jobs j WHERE j.status = 'PROCESSING'
        UNION
        SELECT f.namespace, f.job FROM tasks f WHERE f.state = 'PUBLISHED'
    ) b
    UNION ALL
    SELECT p.namespace, 0, 1 FROM tasks p WHERE p.state = 'PUBLISHED'
    UNION ALL
    SELECT t.namespace, 0, 1 FROM tasks t WHERE t.state = 'RUNNING'
) r GROUP BY r.namespace
