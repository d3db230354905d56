-- Each count reads a partial index: finished work is in none of them.
SELECT
    (SELECT COUNT(*) FROM tasks WHERE state = 'PENDING' AND held = 0) AS "waiting!: i64",
    (SELECT COUNT(*) FROM tasks WHERE state = 'PUBLISHED') AS "published!: i64",
    (SELECT COUNT(*) FROM tasks WHERE state = 'RUNNING') AS "running!: i64",
    (SELECT COUNT(*) FROM tasks WHERE dead = 1) AS "dead!: i64",
    (SELECT MIN(queued_at) FROM (
        SELECT MIN(queued_at) AS queued_at FROM tasks WHERE state = 'PENDING' AND held = 0
        UNION ALL
        SELECT MIN(queued_at) FROM tasks WHERE state = 'PUBLISHED'
    )) AS "oldest: i64",
    (SELECT COALESCE(SUM(rows_processed), 0) FROM jobs WHERE completed_at IS NOT NULL AND completed_at > ?)
        AS "rows_ended!: i64"
