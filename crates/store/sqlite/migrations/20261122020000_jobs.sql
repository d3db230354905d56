-- Why: the record of every job, for a service that is one process with one SQLite file.
--
-- Conventions: ids are UUIDs as BLOB(16); times are microseconds since 1970 UTC; states are text with a CHECK, so that
-- a new state is a new migration and not a new type. CHECKs repeat the invariants of the code, so that SQL run by hand
-- obeys them, too.

CREATE TABLE jobs (
    id              BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    namespace       TEXT    NOT NULL,
    filename        TEXT    NOT NULL,
    blob            TEXT    NOT NULL,
    file_size       INTEGER NOT NULL CHECK (file_size >= 0),
    file_type       TEXT    NOT NULL CHECK (file_type IN ('csv', 'xlsx', 'xls', 'xlsb', 'ods')),
    sha256          TEXT    NOT NULL,
    options         TEXT    NOT NULL,
    schema          TEXT,
    processor       TEXT    NOT NULL,
    webhook_url     TEXT,
    priority        INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 10),
    findings_max    INTEGER NOT NULL CHECK (findings_max >= 0),

    status          TEXT    NOT NULL CHECK (status IN
                        ('QUEUED', 'PROCESSING', 'SUSPENDED', 'COMPLETED', 'FAILED', 'CANCELLED')),
    failure_code    TEXT,
    error_message   TEXT,
    generation      INTEGER NOT NULL DEFAULT 0 CHECK (generation >= 0),
    attempt         INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),

    -- Sums over the tasks whose effects are committed; `tally` is the same in full, as JSON.
    rows_total      INTEGER CHECK (rows_total >= 0),
    rows_processed  INTEGER NOT NULL DEFAULT 0 CHECK (rows_processed >= 0),
    rows_failed     INTEGER NOT NULL DEFAULT 0 CHECK (rows_failed BETWEEN 0 AND rows_processed),
    bytes_processed INTEGER NOT NULL DEFAULT 0 CHECK (bytes_processed >= 0),
    errors_stored   INTEGER NOT NULL DEFAULT 0 CHECK (errors_stored BETWEEN 0 AND findings_max),
    tally           TEXT,
    facts           TEXT,

    tasks_total     INTEGER NOT NULL CHECK (tasks_total >= 0),
    tasks_done      INTEGER NOT NULL DEFAULT 0 CHECK (tasks_done >= 0),
    tasks_failed    INTEGER NOT NULL DEFAULT 0 CHECK (tasks_failed >= 0),

    created_at      INTEGER NOT NULL,
    queued_at       INTEGER NOT NULL,
    started_at      INTEGER,
    completed_at    INTEGER,
    updated_at      INTEGER NOT NULL,
    last_event      INTEGER NOT NULL DEFAULT 0,

    CHECK (tasks_done + tasks_failed <= tasks_total),
    CHECK ((completed_at IS NOT NULL) = (status IN ('COMPLETED', 'FAILED', 'CANCELLED'))),
    CHECK ((failure_code IS NOT NULL) = (status = 'FAILED')),
    CHECK ((error_message IS NOT NULL) = (status = 'FAILED')),
    CHECK (status <> 'COMPLETED' OR (tasks_done = tasks_total AND rows_total = rows_processed)),
    CHECK (status <> 'PROCESSING' OR started_at IS NOT NULL)
) STRICT;

-- Lists, newest first, by every combination of the exact filters.
CREATE INDEX jobs_created ON jobs (created_at, id);
CREATE INDEX jobs_status_created ON jobs (status, created_at, id);
CREATE INDEX jobs_namespace_created ON jobs (namespace, created_at, id);
CREATE INDEX jobs_namespace_status_created ON jobs (namespace, status, created_at, id);
-- Retention, and the rows of the last minute.
CREATE INDEX jobs_completed ON jobs (completed_at) WHERE completed_at IS NOT NULL;

-- How many jobs there are, so that a list's total does not count them.
CREATE TABLE job_counts (
    namespace TEXT    NOT NULL,
    status    TEXT    NOT NULL,
    jobs      INTEGER NOT NULL CHECK (jobs >= 0),
    PRIMARY KEY (namespace, status)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_counted_in AFTER INSERT ON jobs BEGIN
    INSERT INTO job_counts (namespace, status, jobs) VALUES (NEW.namespace, NEW.status, 1)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_counted_out AFTER DELETE ON jobs BEGIN
    UPDATE job_counts SET jobs = jobs - 1 WHERE namespace = OLD.namespace AND status = OLD.status;
END;

CREATE TRIGGER jobs_counted_over AFTER UPDATE OF status ON jobs WHEN NEW.status <> OLD.status BEGIN
    UPDATE job_counts SET jobs = jobs - 1 WHERE namespace = OLD.namespace AND status = OLD.status;
    INSERT INTO job_counts (namespace, status, jobs) VALUES (NEW.namespace, NEW.status, 1)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;

CREATE TABLE tasks (
    id               BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    job              BLOB    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    kind             TEXT    NOT NULL CHECK (kind IN ('whole', 'plan', 'piece')),
    idx              INTEGER NOT NULL CHECK (idx >= 0),
    piece            TEXT    NOT NULL,
    bytes            INTEGER NOT NULL CHECK (bytes >= 0),

    state            TEXT    NOT NULL DEFAULT 'PENDING' CHECK (state IN
                         ('PENDING', 'PUBLISHED', 'RUNNING', 'DONE', 'FAILED', 'CANCELLED')),
    -- Claims, and how many of them were given back. `attempt` is the fence and never goes down.
    attempt          INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    released         INTEGER NOT NULL DEFAULT 0 CHECK (released BETWEEN 0 AND attempt),
    -- Its job is suspended.
    held             INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
    not_before       INTEGER,
    published_at     INTEGER,
    worker           TEXT,
    lease_expires_at INTEGER,
    ended_at         INTEGER,

    progress_bytes   INTEGER NOT NULL DEFAULT 0,
    progress_rows    INTEGER NOT NULL DEFAULT 0,
    progress_failed  INTEGER NOT NULL DEFAULT 0,
    progress_at      INTEGER NOT NULL DEFAULT 0,

    failure_code     TEXT,
    failure_message  TEXT,
    -- Used up its attempts, and may be replayed.
    dead             INTEGER NOT NULL DEFAULT 0 CHECK (dead IN (0, 1)),

    -- Its effects. A job with one task keeps the tally only once, in `jobs`.
    tally            TEXT,
    rejected         TEXT,
    result           TEXT,

    -- Of its job, repeated here so that admission reads one index and no finished work.
    namespace        TEXT    NOT NULL,
    priority         INTEGER NOT NULL,
    queued_at        INTEGER NOT NULL,

    UNIQUE (job, kind, idx),
    CHECK (held = 0 OR state = 'PENDING'),
    CHECK ((published_at IS NOT NULL) = (state = 'PUBLISHED')),
    CHECK ((worker IS NOT NULL) = (state = 'RUNNING')),
    CHECK ((lease_expires_at IS NOT NULL) = (state = 'RUNNING')),
    CHECK (state <> 'RUNNING' OR attempt > released),
    CHECK ((ended_at IS NOT NULL) = (state IN ('DONE', 'FAILED', 'CANCELLED'))),
    CHECK (dead = 0 OR state = 'FAILED'),
    CHECK (state <> 'FAILED' OR failure_code IS NOT NULL)
) STRICT;

CREATE INDEX tasks_waiting ON tasks (namespace, priority, queued_at, idx) WHERE state = 'PENDING' AND held = 0;
CREATE INDEX tasks_busy ON tasks (namespace) WHERE state IN ('PUBLISHED', 'RUNNING');
CREATE INDEX tasks_published ON tasks (published_at) WHERE state = 'PUBLISHED';
CREATE INDEX tasks_leased ON tasks (lease_expires_at) WHERE state = 'RUNNING';
CREATE INDEX tasks_running ON tasks (job) WHERE state = 'RUNNING';
CREATE INDEX tasks_dead ON tasks (ended_at, id) WHERE dead = 1;

CREATE TABLE parts (
    task      BLOB    NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    ordinal   INTEGER NOT NULL,
    blob      TEXT    NOT NULL,
    rows_blob TEXT    NOT NULL,
    rows      INTEGER NOT NULL CHECK (rows >= 0),
    bytes     INTEGER NOT NULL CHECK (bytes >= 0),
    PRIMARY KEY (task, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    job  BLOB    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    id   INTEGER NOT NULL CHECK (id >= 1),
    kind TEXT    NOT NULL CHECK (kind IN ('state', 'finished')),
    at   INTEGER NOT NULL,
    data TEXT    NOT NULL,
    PRIMARY KEY (job, id)
) STRICT, WITHOUT ROWID;

-- A reservation has no job yet.
CREATE TABLE idempotency_keys (
    namespace   TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    job         BLOB,
    fingerprint TEXT,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (namespace, key),
    CHECK ((job IS NULL) = (fingerprint IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_job ON idempotency_keys (job) WHERE job IS NOT NULL;
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- What is left of a deleted job until its blobs are gone.
CREATE TABLE tombstones (
    job        BLOB    NOT NULL PRIMARY KEY CHECK (length(job) = 16),
    blob       TEXT    NOT NULL,
    deleted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
    id         TEXT    NOT NULL PRIMARY KEY,
    slots      INTEGER NOT NULL,
    busy       INTEGER NOT NULL,
    version    TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
