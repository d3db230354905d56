-- Why: what is to be removed from the storage is never forgotten, and what cannot be removed holds up nothing else.
--
-- The file of a completed job, where it is not wanted any longer, is written down by the commit that completes the job;
-- it goes with its job, whose tombstone names the same file. What could not be removed is due again later; absent is at
-- once.

CREATE TABLE spent_uploads (
    job   BLOB    NOT NULL PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    blob  TEXT    NOT NULL,
    due   INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0)
) STRICT, WITHOUT ROWID;

CREATE INDEX spent_uploads_due ON spent_uploads (due);

ALTER TABLE tombstones ADD COLUMN due INTEGER;
ALTER TABLE tombstones ADD COLUMN tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0);

CREATE INDEX tombstones_due ON tombstones (COALESCE(due, deleted_at));
