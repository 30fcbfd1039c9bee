-- Notes on tickets that are to be written. A row comes to be in the transaction of the result or step that it tells
-- of; a drainer posts it. At most one note stands on a ticket for each row.

CREATE TABLE longshore.ticket_outbox (
    task_id text NOT NULL,
    -- 0 is the task's living note, edited in place; N is the Nth note about a moment when a person must look.
    moment integer NOT NULL CHECK (moment >= 0),
    kind text GENERATED ALWAYS AS (CASE WHEN moment = 0 THEN 'living' ELSE 'moment:' || moment END) STORED,
    ticket jsonb NOT NULL,
    -- Whose patience is asked for: notes to one host are paced and paused together.
    host text NOT NULL,
    report jsonb NOT NULL,
    -- What was told before, oldest first: {"at", "verdict", "summary"}.
    history jsonb NOT NULL DEFAULT '[]',
    revision bigint NOT NULL DEFAULT 1,
    told_at timestamptz NOT NULL DEFAULT longshore.now(),

    posted_revision bigint NOT NULL DEFAULT 0,
    labelled_revision bigint NOT NULL DEFAULT 0,
    note_id bigint,
    note_url text,
    -- Set before a create is sent and cleared when it is known not to have happened: while it stands without a
    -- note_id, the note may be there.
    posting_since timestamptz,
    creates integer NOT NULL DEFAULT 0,
    -- The note was there and somebody deleted it.
    gone boolean NOT NULL DEFAULT false,

    -- NULL when there is nothing to do.
    due_at timestamptz DEFAULT longshore.now(),
    attempts integer NOT NULL DEFAULT 0,
    first_failed_at timestamptz,
    error text,
    -- Why it was given up.
    failed text,
    -- When to look for duplicates that a create of unknown outcome may have left.
    sweep_at timestamptz,
    lease uuid,
    lease_until timestamptz,
    PRIMARY KEY (task_id, moment)
);

CREATE INDEX ticket_outbox_due ON longshore.ticket_outbox (host, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ticket_outbox_sweep ON longshore.ticket_outbox (sweep_at) WHERE sweep_at IS NOT NULL;

-- Hosts that asked us to wait.
CREATE TABLE longshore.ticket_hosts (
    host text PRIMARY KEY,
    paused_until timestamptz NOT NULL
);
