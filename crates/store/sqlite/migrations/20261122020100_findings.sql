-- Why: a job can have a million findings, and nobody may see those of an attempt that was not committed.
--
-- Findings are written in batches, one for each task attempt, in many small transactions; the task's commit links its
-- batch, which is one row. What is not linked and not being written is swept. No foreign key to the job: a deleted
-- job's findings go bit by bit, not in one long transaction.

CREATE TABLE finding_batches (
    -- AUTOINCREMENT: a number is never used again, so findings cannot fall to another batch.
    id           INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    job          BLOB    NOT NULL,
    task         BLOB    NOT NULL,
    attempt      INTEGER NOT NULL,
    -- Place among the job's batches in the order of rows: the plan's (header) first, then the pieces'.
    position     INTEGER NOT NULL,
    findings     INTEGER NOT NULL DEFAULT 0,
    linked       INTEGER NOT NULL DEFAULT 0 CHECK (linked IN (0, 1)),
    -- Place of the last finding, so that a cursor finds its batch.
    last_row     INTEGER NOT NULL DEFAULT 0,
    last_seq     INTEGER NOT NULL DEFAULT 0,
    committed_at INTEGER,
    CHECK (linked = 0 OR committed_at IS NOT NULL)
) STRICT;

CREATE UNIQUE INDEX finding_batches_linked ON finding_batches (job, position) WHERE linked = 1;
CREATE INDEX finding_batches_loose ON finding_batches (id) WHERE linked = 0;

CREATE TABLE findings (
    batch         INTEGER NOT NULL,
    -- From 0 without a gap, in the order of row and seq: pages seek by it.
    ordinal       INTEGER NOT NULL,
    row_number    INTEGER NOT NULL,
    seq           INTEGER NOT NULL,
    line          INTEGER NOT NULL,
    byte_offset   INTEGER,
    column_name   TEXT,
    column_number INTEGER,
    cell          TEXT,
    code          TEXT    NOT NULL,
    message       TEXT    NOT NULL,
    raw_value     TEXT,
    PRIMARY KEY (batch, ordinal)
) STRICT, WITHOUT ROWID;

CREATE INDEX findings_by_code ON findings (batch, code, ordinal);
CREATE INDEX findings_by_column ON findings (batch, column_name, ordinal) WHERE column_name IS NOT NULL;

-- How many findings of a batch have a code and a column, so that the total of a filtered page counts nothing.
CREATE TABLE finding_counts (
    batch       INTEGER NOT NULL,
    code        TEXT    NOT NULL,
    column_name TEXT,
    findings    INTEGER NOT NULL
) STRICT;

CREATE INDEX finding_counts_batch ON finding_counts (batch);
