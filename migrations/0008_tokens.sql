-- Who may call the API, and who decided what a task asked a person.

-- A token is shown once, when it is made; here stands its SHA-256 alone. It is 256 random bits, so that no slow hash is
-- needed: there is nothing to guess.
CREATE TABLE longshore.tokens (
    -- The token's public part, by which it is found: lsh_ID_SECRET.
    id text PRIMARY KEY,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('read', 'enqueue', 'approve', 'admin')),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    created_at timestamptz NOT NULL DEFAULT longshore.now(),
    -- Written at most once a minute.
    last_used_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz
);
-- A name says who called, so no two live tokens share one; a revoked one's is free again.
CREATE UNIQUE INDEX tokens_named ON longshore.tokens (name) WHERE revoked_at IS NULL;

-- A record of decisions, one for each step that waited for one. It outlives the task.
CREATE TABLE longshore.approvals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id text NOT NULL,
    -- The waiting step, which a task that is tried anew makes anew.
    step text NOT NULL,
    asked_at timestamptz NOT NULL,
    decision text NOT NULL CHECK (decision IN ('approved', 'rejected')),
    decided_by text NOT NULL,
    comment text,
    decided_at timestamptz NOT NULL DEFAULT longshore.now(),
    UNIQUE (task_id, step, asked_at)
);
