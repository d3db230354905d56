-- Each count reads a partial index: finished work is in none of them.
SELECT
    (SELECT COUNT(*) FROM tasks WHERE state = 'PENDING' AND NOT held) AS "waiting!",
    (SELECT COUNT(*) FROM tasks WHERE state = 'PUBLISHED') AS "published!",
    (SELECT COUNT(*) FROM tasks WHERE state = 'RUNNING') AS "running!",
    (SELECT COUNT(*) FROM tasks WHERE dead) AS "dead!",
    LEAST(
        (SELECT MIN(queued_at) FROM tasks WHERE state = 'PENDING' AND NOT held),
        (SELECT MIN(queued_at) FROM tasks WHERE state = 'PUBLISHED')
    ) AS oldest,
    (SELECT COALESCE(SUM(rows_processed), 0)::bigint FROM jobs WHERE completed_at IS NOT NULL AND completed_at > $1)
        AS "rows_ended!"
