-- Why: several schedulers stand by for each other, and one of them leads: whoever holds this row until its time is up.

CREATE TABLE leadership (
    id     smallint    NOT NULL PRIMARY KEY CHECK (id = 1),
    -- Nobody before the first, and after one that stepped down.
    holder text,
    epoch  bigint      NOT NULL CHECK (epoch >= 0),
    until  timestamptz,
    CHECK ((until IS NOT NULL) = (holder IS NOT NULL))
) WITH (fillfactor = 50);

INSERT INTO leadership (id, holder, epoch, until) VALUES (1, NULL, 0, NULL);
