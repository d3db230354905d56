-- Why: every way to run but `dev` on loopback asks callers who they are. What is kept of a key is its SHA-256: whoever
-- reads this table cannot use a single one of them.

CREATE TABLE api_keys (
    prefix       TEXT    NOT NULL PRIMARY KEY CHECK (length(prefix) BETWEEN 6 AND 16),
    hash         BLOB    NOT NULL CHECK (length(hash) = 32),
    name         TEXT    NOT NULL CHECK (name <> ''),
    -- A blank between two. `admin` includes the others, so it stands alone, and belongs to no namespace.
    scopes       TEXT    NOT NULL CHECK (scopes IN ('admin', 'jobs:read', 'jobs:write', 'jobs:read jobs:write')),
    namespace    TEXT,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER,
    CHECK ((namespace IS NULL) = (scopes = 'admin'))
) STRICT, WITHOUT ROWID;
