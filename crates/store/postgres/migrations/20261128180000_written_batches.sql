-- Why: findings of a batch are written ahead in transactions that do not wait for the disk. A crash of the server can
-- undo the last of them while the worker goes on with the next, and the commit would then link a batch with a gap. The
-- batch's row tells how far it has come (`findings`), which every further transaction compares, and whether it is whole.

ALTER TABLE finding_batches
    ADD COLUMN written boolean NOT NULL DEFAULT false;
