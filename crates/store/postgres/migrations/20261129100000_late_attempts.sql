-- Why: an attempt that is told after another round has begun is none of that round's: it must not cost it a retry.

ALTER TABLE deliveries
    ADD COLUMN late_attempts integer NOT NULL DEFAULT 0 CHECK (late_attempts >= 0);
