-- Why: with a quota of running jobs, tasks of jobs that have begun are offered even behind older ones that the quota
-- holds. They are found from their job, without its finished tasks.

CREATE INDEX tasks_waiting_of_job ON tasks (job, idx) WHERE state = 'PENDING' AND held = 0;
