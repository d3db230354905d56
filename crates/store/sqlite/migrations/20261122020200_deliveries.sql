-- Why: the end of a job is told to a webhook at least once: the delivery is written with the end, in one transaction.

CREATE TABLE deliveries (
    id         BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    job        BLOB    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    url        TEXT    NOT NULL,
    body       TEXT    NOT NULL,
    state      TEXT    NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'abandoned')),
    attempts   INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at INTEGER NOT NULL,
    due_at     INTEGER,
    CHECK ((due_at IS NOT NULL) = (state = 'pending'))
) STRICT;

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'pending';
CREATE INDEX deliveries_job ON deliveries (job);

CREATE TABLE delivery_attempts (
    delivery    BLOB    NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    status      INTEGER,
    error       TEXT,
    PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;
