-- Why: the record of every job, for services of many processes on one Postgres (15 or newer).
--
-- Conventions: states are text with a CHECK, so that a new state is a new migration and not a new type. CHECKs repeat
-- the invariants of the code, so that SQL run by hand obeys them, too. JSON is `json`, not `jsonb`: nothing looks into
-- it here, it comes back letter for letter, and it may hold the NULs that labels of hostile files have. Text that is
-- compared or sorted has the collation "C": bytes, the same on every server.
--
-- Rows of `jobs` and `tasks` are rewritten while work goes on. Their pages keep room for that, and no index holds what
-- a heartbeat or the commit of one piece of many changes, so that such an update stays within its page (HOT).

CREATE TABLE jobs (
    id              uuid        NOT NULL PRIMARY KEY,
    namespace       text COLLATE "C" NOT NULL,
    filename        text        NOT NULL,
    blob            text        NOT NULL,
    file_size       bigint      NOT NULL CHECK (file_size >= 0),
    file_type       text        NOT NULL CHECK (file_type IN ('csv', 'xlsx', 'xls', 'xlsb', 'ods')),
    sha256          text        NOT NULL,
    options         json        NOT NULL,
    schema          json,
    processor       json        NOT NULL,
    webhook_url     text,
    priority        smallint    NOT NULL CHECK (priority BETWEEN 0 AND 10),
    findings_max    bigint      NOT NULL CHECK (findings_max >= 0),

    status          text COLLATE "C" NOT NULL CHECK (status IN
                        ('QUEUED', 'PROCESSING', 'SUSPENDED', 'COMPLETED', 'FAILED', 'CANCELLED')),
    failure_code    text,
    error_message   text,
    generation      integer     NOT NULL DEFAULT 0 CHECK (generation >= 0),
    attempt         integer     NOT NULL DEFAULT 0 CHECK (attempt >= 0),

    -- Sums over the tasks whose effects are committed; `tally` is the same in full.
    rows_total      bigint      CHECK (rows_total >= 0),
    rows_processed  bigint      NOT NULL DEFAULT 0 CHECK (rows_processed >= 0),
    rows_failed     bigint      NOT NULL DEFAULT 0 CHECK (rows_failed BETWEEN 0 AND rows_processed),
    bytes_processed bigint      NOT NULL DEFAULT 0 CHECK (bytes_processed >= 0),
    errors_stored   bigint      NOT NULL DEFAULT 0 CHECK (errors_stored BETWEEN 0 AND findings_max),
    tally           json,
    facts           json,

    tasks_total     integer     NOT NULL CHECK (tasks_total >= 0),
    tasks_done      integer     NOT NULL DEFAULT 0 CHECK (tasks_done >= 0),
    tasks_failed    integer     NOT NULL DEFAULT 0 CHECK (tasks_failed >= 0),

    created_at      timestamptz NOT NULL,
    queued_at       timestamptz NOT NULL,
    started_at      timestamptz,
    completed_at    timestamptz,
    updated_at      timestamptz NOT NULL,
    last_event      bigint      NOT NULL DEFAULT 0,

    CHECK (tasks_done + tasks_failed <= tasks_total),
    CHECK ((completed_at IS NOT NULL) = (status IN ('COMPLETED', 'FAILED', 'CANCELLED'))),
    CHECK ((failure_code IS NOT NULL) = (status = 'FAILED')),
    CHECK ((error_message IS NOT NULL) = (status = 'FAILED')),
    CHECK (status <> 'COMPLETED'
        OR (tasks_done = tasks_total AND rows_total IS NOT NULL AND rows_total = rows_processed)),
    CHECK (status <> 'PROCESSING' OR started_at IS NOT NULL)
) WITH (fillfactor = 80);

-- Lists, newest first, by every combination of the exact filters.
CREATE INDEX jobs_created ON jobs (created_at, id);
CREATE INDEX jobs_status_created ON jobs (status, created_at, id);
CREATE INDEX jobs_namespace_created ON jobs (namespace, created_at, id);
CREATE INDEX jobs_namespace_status_created ON jobs (namespace, status, created_at, id);
-- Retention, and the rows of the last minute.
CREATE INDEX jobs_completed ON jobs (completed_at) WHERE completed_at IS NOT NULL;

-- How many jobs there are, so that a list's total does not count them: a sum, and what has changed since it was made.
-- A change is a row of its own, since one row for all would have every commit wait for the one before. The sweep adds
-- changes to the sum. A part of them added before the rest may leave a sum below nothing for a moment.
CREATE TABLE job_counts (
    namespace text COLLATE "C" NOT NULL,
    status    text COLLATE "C" NOT NULL,
    jobs      bigint           NOT NULL,
    PRIMARY KEY (namespace, status)
);

CREATE TABLE job_count_changes (
    namespace text COLLATE "C" NOT NULL,
    status    text COLLATE "C" NOT NULL,
    jobs      smallint         NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

CREATE FUNCTION count_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO job_count_changes (namespace, status, jobs) VALUES (OLD.namespace, OLD.status, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO job_count_changes (namespace, status, jobs) VALUES (NEW.namespace, NEW.status, 1);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER jobs_counted_in_or_out AFTER INSERT OR DELETE ON jobs
    FOR EACH ROW EXECUTE FUNCTION count_job();
CREATE TRIGGER jobs_counted_over AFTER UPDATE OF status, namespace ON jobs
    FOR EACH ROW WHEN ((OLD.namespace, OLD.status) IS DISTINCT FROM (NEW.namespace, NEW.status))
    EXECUTE FUNCTION count_job();

CREATE TABLE tasks (
    id               uuid        NOT NULL PRIMARY KEY,
    job              uuid        NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    kind             text COLLATE "C" NOT NULL CHECK (kind IN ('whole', 'plan', 'piece')),
    idx              integer     NOT NULL CHECK (idx >= 0),
    piece            json        NOT NULL,
    bytes            bigint      NOT NULL CHECK (bytes >= 0),

    state            text COLLATE "C" NOT NULL DEFAULT 'PENDING' CHECK (state IN
                         ('PENDING', 'PUBLISHED', 'RUNNING', 'DONE', 'FAILED', 'CANCELLED')),
    -- Claims, and how many of them were given back. `attempt` is the fence and never goes down.
    attempt          integer     NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    released         integer     NOT NULL DEFAULT 0 CHECK (released BETWEEN 0 AND attempt),
    -- Its job is suspended.
    held             boolean     NOT NULL DEFAULT false,
    not_before       timestamptz,
    published_at     timestamptz,
    worker           text,
    lease_expires_at timestamptz,
    ended_at         timestamptz,

    progress_bytes   bigint      NOT NULL DEFAULT 0,
    progress_rows    bigint      NOT NULL DEFAULT 0,
    progress_failed  bigint      NOT NULL DEFAULT 0,
    progress_at      timestamptz,

    failure_code     text,
    failure_message  text,
    -- Used up its attempts, and may be replayed.
    dead             boolean     NOT NULL DEFAULT false,

    -- Its effects. A job with one task keeps the tally only once, in `jobs`.
    tally            json,
    rejected         text,
    result           json,

    -- Of its job, repeated here so that admission reads one index and no finished work.
    namespace        text COLLATE "C" NOT NULL,
    priority         smallint    NOT NULL,
    queued_at        timestamptz NOT NULL,

    UNIQUE (job, kind, idx),
    CHECK (NOT held OR state = 'PENDING'),
    CHECK ((published_at IS NOT NULL) = (state = 'PUBLISHED')),
    CHECK ((worker IS NOT NULL) = (state = 'RUNNING')),
    CHECK ((lease_expires_at IS NOT NULL) = (state = 'RUNNING')),
    CHECK (state <> 'RUNNING' OR attempt > released),
    CHECK ((ended_at IS NOT NULL) = (state IN ('DONE', 'FAILED', 'CANCELLED'))),
    CHECK (NOT dead OR state = 'FAILED'),
    CHECK (state <> 'FAILED' OR failure_code IS NOT NULL)
) WITH (fillfactor = 70);

-- Work that is open, each state in an index of its own, which holds no finished work. Neither the end of a lease nor
-- the time of publishing is in one: they change often, and there are never many rows to look at.
CREATE INDEX tasks_waiting ON tasks (namespace, priority, queued_at, idx) WHERE state = 'PENDING' AND NOT held;
CREATE INDEX tasks_published ON tasks (namespace) WHERE state = 'PUBLISHED';
CREATE INDEX tasks_running ON tasks (job) WHERE state = 'RUNNING';
CREATE INDEX tasks_dead ON tasks (ended_at, id) WHERE dead;

CREATE TABLE parts (
    task      uuid    NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    ordinal   integer NOT NULL,
    blob      text    NOT NULL,
    rows_blob text    NOT NULL,
    rows      bigint  NOT NULL CHECK (rows >= 0),
    bytes     bigint  NOT NULL CHECK (bytes >= 0),
    PRIMARY KEY (task, ordinal)
);

CREATE TABLE events (
    job  uuid        NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    id   bigint      NOT NULL CHECK (id >= 1),
    kind text        NOT NULL CHECK (kind IN ('state', 'finished')),
    at   timestamptz NOT NULL,
    data json        NOT NULL,
    PRIMARY KEY (job, id)
);

-- A reservation has no job yet.
CREATE TABLE idempotency_keys (
    namespace   text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    job         uuid,
    fingerprint text,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (namespace, key),
    CHECK ((job IS NULL) = (fingerprint IS NULL))
);

CREATE INDEX idempotency_keys_job ON idempotency_keys (job) WHERE job IS NOT NULL;
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- What is left of a deleted job until its blobs are gone.
CREATE TABLE tombstones (
    job        uuid        NOT NULL PRIMARY KEY,
    blob       text        NOT NULL,
    deleted_at timestamptz NOT NULL
);

CREATE INDEX tombstones_deleted ON tombstones (deleted_at);

CREATE TABLE workers (
    id         text COLLATE "C" NOT NULL PRIMARY KEY,
    slots      integer     NOT NULL,
    busy       integer     NOT NULL,
    version    text        NOT NULL,
    started_at timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL
) WITH (fillfactor = 50);
