-- Why: what is to be removed from the storage is never forgotten, and what cannot be removed holds up nothing else.
--
-- The file of a completed job, where it is not wanted any longer, is written down by the commit that completes the job.
-- In a table of its own: a scheduler of the release before takes every tombstone for that of a deleted job, and would
-- remove the results as well. It goes with its job, whose tombstone names the same file.
--
-- What could not be removed is due again later; absent is at once, as in what the release before writes. Its scheduler
-- tries everything every time.

CREATE TABLE spent_uploads (
    job   uuid        NOT NULL PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    blob  text        NOT NULL,
    due   timestamptz NOT NULL,
    tries integer     NOT NULL DEFAULT 0 CHECK (tries >= 0)
);

CREATE INDEX spent_uploads_due ON spent_uploads (due);

ALTER TABLE tombstones
    ADD COLUMN due   timestamptz,
    ADD COLUMN tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0);

CREATE INDEX tombstones_due ON tombstones ((COALESCE(due, deleted_at)));
