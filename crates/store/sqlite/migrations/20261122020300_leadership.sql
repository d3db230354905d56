-- Why: where several schedulers run for one store, one of them leads. A service with a file of its own is alone, but
-- obeys the same contract.

CREATE TABLE leadership (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    -- Nobody before the first, and after one that stepped down.
    holder TEXT,
    epoch  INTEGER NOT NULL CHECK (epoch >= 0),
    until  INTEGER,
    CHECK ((until IS NOT NULL) = (holder IS NOT NULL))
) STRICT;

INSERT INTO leadership (id, holder, epoch, until) VALUES (1, NULL, 0, NULL);
