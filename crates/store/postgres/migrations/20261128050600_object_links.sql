-- Why: which Kubernetes object states and shows which job, so that an object never gets two jobs, and what was deleted
-- while the controller was away is noticed.
--
-- A link outlives its job's row: it stays until the object is gone, and keeps a job that retention has removed from
-- being made again. So it does not reference `jobs`. What the object's author wants of the job is kept as it was last
-- carried out: only what has changed since is carried out, and what others do by the API stays done until then.

CREATE TABLE object_links (
    job       uuid             NOT NULL PRIMARY KEY,
    uid       text COLLATE "C" NOT NULL UNIQUE,
    namespace text COLLATE "C" NOT NULL,
    name      text COLLATE "C" NOT NULL,
    suspend   boolean          NOT NULL,
    cancel    boolean          NOT NULL,
    priority  smallint         NOT NULL CHECK (priority BETWEEN 0 AND 10),
    retries   bigint           NOT NULL CHECK (retries >= 0)
);
