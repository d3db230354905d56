-- Why: the end of a job is told to a webhook at least once: the delivery is written with the end, in one transaction. It
-- can be sent again: each time is a round with a time limit and a number of attempts of its own.

CREATE TABLE deliveries (
    id         uuid        NOT NULL PRIMARY KEY,
    job        uuid        NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    url        text        NOT NULL,
    body       text        NOT NULL,
    state      text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'abandoned')),
    attempts   integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- Of these, attempts of earlier rounds.
    earlier_attempts integer NOT NULL DEFAULT 0 CHECK (earlier_attempts BETWEEN 0 AND attempts),
    created_at timestamptz NOT NULL,
    round_at   timestamptz NOT NULL,
    due_at     timestamptz,
    CHECK ((due_at IS NOT NULL) = (state = 'pending'))
);

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'pending';
CREATE INDEX deliveries_job ON deliveries (job);

CREATE TABLE delivery_attempts (
    delivery    uuid        NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    number      integer     NOT NULL,
    at          timestamptz NOT NULL,
    duration_ms bigint      NOT NULL,
    status      integer,
    error       text,
    PRIMARY KEY (delivery, number)
);
