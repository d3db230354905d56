-- Why: every way to run but `dev` on loopback asks callers who they are. What is kept of a key is its SHA-256: whoever
-- reads this table cannot use a single one of them.

CREATE TABLE api_keys (
    prefix       text COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(prefix) BETWEEN 6 AND 16),
    hash         bytea       NOT NULL CHECK (length(hash) = 32),
    name         text        NOT NULL CHECK (name <> ''),
    -- A blank between two. `admin` includes the others, so it stands alone, and belongs to no namespace.
    scopes       text        NOT NULL CHECK (scopes IN ('admin', 'jobs:read', 'jobs:write', 'jobs:read jobs:write')),
    namespace    text,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    CHECK ((namespace IS NULL) = (scopes = 'admin'))
);
