-- Why: a job can have a million findings, and nobody may see those of an attempt that was not committed.
--
-- Findings are written in batches, one for each task attempt: many of them ahead, in transactions of their own, few of
-- them with the commit. The task's commit links its batch, which is one row. What is not linked and not being written
-- is swept. No foreign keys: a deleted job's findings go bit by bit, not in one long transaction.

CREATE TABLE finding_batches (
    -- A number is never used again, so findings cannot fall to another batch.
    id           bigint      NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    job          uuid        NOT NULL,
    task         uuid        NOT NULL,
    attempt      integer     NOT NULL,
    -- Place among the job's batches in the order of rows: the plan's (header) first, then the pieces'.
    position     integer     NOT NULL,
    findings     bigint      NOT NULL DEFAULT 0,
    linked       boolean     NOT NULL DEFAULT false,
    -- Place of the last finding, so that a cursor finds its batch.
    last_row     bigint      NOT NULL DEFAULT 0,
    last_seq     integer     NOT NULL DEFAULT 0,
    committed_at timestamptz,
    CHECK (NOT linked OR committed_at IS NOT NULL)
);

CREATE UNIQUE INDEX finding_batches_linked ON finding_batches (job, position) WHERE linked;
CREATE INDEX finding_batches_loose ON finding_batches (id) WHERE NOT linked;

-- The columns that findings of a batch are at. A label may be long and stands in each of them: they name it by number.
CREATE TABLE finding_labels (
    batch bigint  NOT NULL,
    label integer NOT NULL,
    -- UTF-8, which may hold a NUL that `text` cannot.
    name  bytea   NOT NULL,
    PRIMARY KEY (batch, label)
);

CREATE INDEX finding_labels_name ON finding_labels (batch, name);

CREATE TABLE findings (
    batch         bigint   NOT NULL,
    -- From 0 without a gap, in the order of row and seq: pages seek by it.
    ordinal       integer  NOT NULL,
    row_number    bigint   NOT NULL,
    seq           integer  NOT NULL,
    label         integer,
    line          bigint   NOT NULL,
    byte_offset   bigint,
    column_number integer,
    -- The code's place in the list of codes, from 0.
    code          smallint NOT NULL,
    cell          text,
    -- UTF-8, which may hold a NUL that `text` cannot.
    message       bytea    NOT NULL,
    raw_value     bytea,
    PRIMARY KEY (batch, ordinal)
);

CREATE INDEX findings_by_code ON findings (batch, code, ordinal);
CREATE INDEX findings_by_label ON findings (batch, label, ordinal) WHERE label IS NOT NULL;

-- How many findings of a batch have a code and a column, so that the total of a filtered page counts nothing.
CREATE TABLE finding_counts (
    batch    bigint   NOT NULL,
    code     smallint NOT NULL,
    label    integer,
    findings bigint   NOT NULL
);

CREATE INDEX finding_counts_batch ON finding_counts (batch);
