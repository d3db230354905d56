-- Makes `history.jobs` jobs that have ended out of the one with the id `history.model`, and a job with
-- `history.findings` findings among them. In the model's shape, so that rows are as wide as real ones; over twenty days
-- until the model's time; one in twenty failed, one in twenty cancelled; one in ten in another namespace.
BEGIN;
-- No triggers and no foreign keys while this loads: what is made here fits together.
SET session_replication_role = replica;
SET synchronous_commit = off;
SET maintenance_work_mem = '256MB';

-- Indexes are built at the end, in one go each. Those that are unique stay.
CREATE TEMP TABLE later AS
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
WHERE NOT i.indisunique AND t.relname IN
    ('jobs', 'tasks', 'parts', 'events', 'finding_batches', 'findings', 'finding_labels', 'finding_counts', 'deliveries',
    'idempotency_keys');
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT l.name FROM later l LOOP
        EXECUTE 'DROP INDEX ' || name;
    END LOOP;
END
$$;

CREATE TEMP TABLE past AS
SELECT
    n,
    j.created_at - at AS age,
    -- As `Sources` makes them: by time, version 7.
    (stem || '8' || lpad(to_hex(n), 15, '0'))::uuid AS job,
    (stem || '9' || lpad(to_hex(n), 15, '0'))::uuid AS task,
    (stem || 'a' || lpad(to_hex(n), 15, '0'))::uuid AS delivery,
    CASE n % 10 WHEN 9 THEN 'other' ELSE j.namespace END AS namespace,
    CASE n % 20 WHEN 0 THEN 'FAILED' WHEN 1 THEN 'CANCELLED' ELSE 'COMPLETED' END AS status
FROM generate_series(1, current_setting('history.jobs')::integer) AS n
    CROSS JOIN (SELECT * FROM jobs WHERE id = current_setting('history.model')::uuid) j
    CROSS JOIN LATERAL (SELECT j.created_at - interval '20 days' * (1 - n::float / current_setting('history.jobs')::float)
        - interval '1 second' AS at) t
    CROSS JOIN LATERAL (SELECT lpad(to_hex((EXTRACT(EPOCH FROM at) * 1000)::bigint), 12, '0') || '7000' AS stem) s;
ANALYZE past;

INSERT INTO jobs (id, namespace, filename, blob, file_size, file_type, sha256, options, schema, processor, webhook_url,
    priority, findings_max, status, failure_code, error_message, generation, attempt, rows_total, rows_processed,
    rows_failed, bytes_processed, errors_stored, tally, facts, tasks_total, tasks_done, tasks_failed, created_at,
    queued_at, started_at, completed_at, updated_at, last_event)
SELECT p.job, p.namespace, j.filename, j.blob, j.file_size, j.file_type, j.sha256, j.options, j.schema, j.processor,
    j.webhook_url, j.priority, j.findings_max, p.status,
    CASE p.status WHEN 'FAILED' THEN 'ATTEMPTS_EXHAUSTED' END, CASE p.status WHEN 'FAILED' THEN 'It failed.' END,
    j.generation, j.attempt, j.rows_total, j.rows_processed, j.rows_failed, j.bytes_processed, j.errors_stored, j.tally,
    j.facts, 1, (p.status = 'COMPLETED')::integer, (p.status = 'FAILED')::integer, j.created_at - p.age,
    j.queued_at - p.age, j.started_at - p.age, j.completed_at - p.age, j.updated_at - p.age, j.last_event
FROM past p CROSS JOIN (SELECT * FROM jobs WHERE id = current_setting('history.model')::uuid) j;

INSERT INTO tasks (id, job, kind, idx, piece, bytes, state, attempt, ended_at, progress_bytes, progress_rows,
    progress_failed, progress_at, failure_code, failure_message, dead, tally, rejected, result, namespace, priority,
    queued_at)
SELECT p.task, p.job, t.kind, t.idx, t.piece, t.bytes, CASE p.status WHEN 'COMPLETED' THEN 'DONE' ELSE p.status END,
    t.attempt, t.ended_at - p.age, t.progress_bytes, t.progress_rows, t.progress_failed, t.progress_at - p.age,
    CASE p.status WHEN 'FAILED' THEN 'ATTEMPTS_EXHAUSTED' END, CASE p.status WHEN 'FAILED' THEN 'It failed.' END,
    p.n % 10000 = 0, t.tally, t.rejected, t.result, p.namespace, t.priority, t.queued_at - p.age
FROM past p CROSS JOIN (SELECT * FROM tasks WHERE job = current_setting('history.model')::uuid) t;

INSERT INTO events (job, id, kind, at, data)
SELECT p.job, e.id, e.kind, e.at - p.age, e.data
FROM past p CROSS JOIN
    (SELECT * FROM events WHERE job = current_setting('history.model')::uuid ORDER BY id DESC LIMIT 1) e;

INSERT INTO parts (task, ordinal, blob, rows_blob, rows, bytes)
SELECT p.task, m.ordinal, m.blob, m.rows_blob, m.rows, m.bytes
FROM past p CROSS JOIN (SELECT m.* FROM parts m JOIN tasks t ON t.id = m.task
    WHERE t.job = current_setting('history.model')::uuid ORDER BY m.ordinal LIMIT 1) m
WHERE p.n % 4 = 2;

-- Findings: one each for every tenth job, and all in one for the job that is asked for its pages.
CREATE TEMP TABLE model_finding AS
SELECT f.*, l.name FROM findings f JOIN finding_batches b ON b.id = f.batch
    JOIN finding_labels l ON l.batch = f.batch AND l.label = f.label
WHERE b.job = current_setting('history.model')::uuid ORDER BY f.batch, f.ordinal LIMIT 1;

WITH batch AS (
    INSERT INTO finding_batches (job, task, attempt, position, findings, linked, last_row, last_seq, committed_at)
    SELECT p.job, p.task, 1, 0, CASE WHEN p.n = m.n THEN current_setting('history.findings')::integer ELSE 1 END, true,
        CASE WHEN p.n = m.n THEN current_setting('history.findings')::integer ELSE 1 END, 0, now()
    FROM past p CROSS JOIN (SELECT MAX(n) AS n FROM past WHERE n % 20 = 12) m WHERE p.n % 10 = 2
    RETURNING id, findings
), labels AS (
    INSERT INTO finding_labels (batch, label, name) SELECT b.id, f.label, f.name FROM batch b CROSS JOIN model_finding f
), counts AS (
    INSERT INTO finding_counts (batch, code, label, findings)
    SELECT b.id, f.code, f.label, b.findings FROM batch b CROSS JOIN model_finding f
)
INSERT INTO findings (batch, ordinal, row_number, seq, label, line, byte_offset, column_number, code, cell, message,
    raw_value)
SELECT b.id, n - 1, n, 0, f.label, n + 1, n * 20, f.column_number, f.code, f.cell, f.message, f.raw_value
FROM batch b CROSS JOIN model_finding f CROSS JOIN LATERAL generate_series(1, b.findings) AS n;

INSERT INTO deliveries (id, job, url, body, state, attempts, created_at, round_at)
SELECT p.delivery, p.job, 'https://example.com/hook', '{"type": "filejob.completed"}', 'delivered', 1, now() - p.age,
    now() - p.age
FROM past p WHERE p.n % 10 = 3;
INSERT INTO delivery_attempts (delivery, number, at, duration_ms, status)
SELECT p.delivery, 1, now() - p.age, 12, 200 FROM past p WHERE p.n % 10 = 3;

INSERT INTO idempotency_keys (namespace, key, job, fingerprint, expires_at)
SELECT p.namespace, 'key-' || p.n, p.job, repeat('0', 64), now() + interval '1 day' FROM past p WHERE p.n % 10 = 4;

INSERT INTO object_links (job, uid, namespace, name, suspend, cancel, priority, retries)
SELECT p.job, p.job::text, p.namespace, 'orders-' || p.n, false, false, 0, 0 FROM past p WHERE p.n % 10 = 5;

INSERT INTO job_counts AS c (namespace, status, jobs)
SELECT p.namespace, p.status, COUNT(*) FROM past p GROUP BY p.namespace, p.status
ON CONFLICT (namespace, status) DO UPDATE SET jobs = c.jobs + excluded.jobs;

DO $$
DECLARE definition text;
BEGIN
    FOR definition IN SELECT l.definition FROM later l LOOP
        EXECUTE definition;
    END LOOP;
END
$$;
COMMIT;
