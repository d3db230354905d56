-- Why: a webhook can be sent again. Each time is a round with a time limit and a number of attempts of its own; the
-- attempts of earlier rounds are kept.

ALTER TABLE deliveries ADD COLUMN round_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN earlier_attempts INTEGER NOT NULL DEFAULT 0 CHECK (earlier_attempts BETWEEN 0 AND attempts);
UPDATE deliveries SET round_at = created_at;
