-- Why: how much may run at a time is the scheduler's setting, and every process tells why a job waits. The scheduler that
-- leads writes it here when it begins. An absent row or value is no bound.

CREATE TABLE quotas (
    id              smallint NOT NULL PRIMARY KEY CHECK (id = 1),
    namespace_jobs  integer CHECK (namespace_jobs >= 0),
    namespace_tasks integer CHECK (namespace_tasks >= 0),
    total_jobs      integer CHECK (total_jobs >= 0),
    total_tasks     integer CHECK (total_tasks >= 0)
);
