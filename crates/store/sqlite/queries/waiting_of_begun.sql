-- The first tasks of every job that has begun: it is being processed, or its first task is on its way.
WITH begun AS (
    SELECT j.id AS job FROM jobs j WHERE j.status = 'PROCESSING'
    UNION
    SELECT p.job FROM tasks p WHERE p.state = 'PUBLISHED'
)
SELECT t.id AS "id!: Uuid", t.job AS "job!: Uuid", t.namespace AS "namespace!", t.priority AS "priority!",
    t.queued_at AS "queued_at!", true AS "processing!: bool"
FROM begun CROSS JOIN tasks t
WHERE t.rowid IN (
    SELECT w.rowid FROM tasks w
    WHERE w.job = begun.job AND w.state = 'PENDING' AND w.held = 0 AND (w.not_before IS NULL OR w.not_before <= ?1)
    ORDER BY w.idx LIMIT ?2
)
