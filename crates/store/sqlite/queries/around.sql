-- What every job that waits depends on: quotas, workers, what is on its way, and the tasks of jobs that ended lately.
SELECT q.namespace_jobs AS "namespace_jobs?", q.namespace_tasks AS "namespace_tasks?", q.total_jobs AS "total_jobs?",
    q.total_tasks AS "total_tasks?", w.slots AS "slots!: i64", w.busy AS "busy!: i64", p.oldest AS "oldest?: i64",
    p.before AS "published!: i64", e.tasks AS "ended!: i64", e.since AS "ended_since?: i64"
FROM (SELECT COALESCE(SUM(slots), 0) AS slots, COALESCE(SUM(busy), 0) AS busy FROM workers WHERE last_seen >= ?1) w
CROSS JOIN (SELECT MIN(published_at) AS oldest, COUNT(*) FILTER (WHERE ?2 IS NULL OR published_at < ?2) AS before
    FROM tasks WHERE state = 'PUBLISHED') p
CROSS JOIN (SELECT COALESCE(SUM(l.tasks), 0) AS tasks, MIN(l.completed_at) AS since FROM (
        SELECT tasks_done + tasks_failed AS tasks, completed_at FROM jobs
        WHERE completed_at IS NOT NULL AND completed_at > ?3 ORDER BY completed_at DESC LIMIT ?4
    ) l) e
LEFT JOIN quotas q ON q.id = 1
